package options

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/davit-containers/davit/commands/cli"
)

// Host is what flags need of their surroundings.
type Host struct {
	// Environ are the KEY=value pairs of the user's environment.
	Environ  []string
	ReadFile func(path string) ([]byte, error)
	Stat     func(path string) (fs.FileInfo, error)
	// Dir is the folder that relative paths count from.
	Dir    string
	Config *cli.Config
}

// NewHost is the Host of an invocation.
func NewHost(env *cli.Env) (Host, error) {
	config, err := env.Config()
	if err != nil {
		return Host{}, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return Host{}, fmt.Errorf("finding the current folder: %w", err)
	}
	return Host{Environ: env.Environ, ReadFile: os.ReadFile, Stat: os.Stat, Dir: dir, Config: config}, nil
}

// abs makes a path of the host absolute.
func (h Host) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(h.Dir, path)
}

// read reads a file that a flag names.
func (h Host) read(flag, path string) ([]byte, error) {
	data, err := h.ReadFile(h.abs(path))
	if err != nil {
		return nil, flagError(flag, errors.New(reason(err, path)))
	}
	return data, nil
}

// reason says why a path cannot be used, in words.
func reason(err error, path string) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%q does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%q cannot be read: permission denied", path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Sprintf("%q is a folder", path)
	}
	return err.Error()
}

// flagError says which flag has a bad value.
func flagError(flag string, err error) error {
	if err == nil {
		return nil
	}
	text, _ := cli.Message(err)
	return cli.Usagef("--%s: %s", flag, text)
}
