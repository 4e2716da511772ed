package options

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/davit-containers/davit/commands/cli"
)

// IDFile is the file that a flag has the ID of a new object written to. With an
// empty Path there is none, and nothing is done.
type IDFile struct {
	Flag, Path string
	// Fresh refuses a file that is there.
	Fresh bool

	made bool // by Claim
}

// Claim makes sure that the file can be written, before anything else is changed
// for the object. What is in a file that is there stays until Write.
func (f *IDFile) Claim() error {
	if f.Path == "" {
		return nil
	}
	file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	f.made = err == nil
	if errors.Is(err, fs.ErrExist) {
		if f.Fresh {
			return cli.Usagef("--%s: %q is there already", f.Flag, f.Path).Hintf("remove it first: another container may go by it")
		}
		file, err = os.OpenFile(f.Path, os.O_WRONLY, 0)
	}
	if err != nil {
		return fmt.Errorf("--%s: %w", f.Flag, err)
	}
	return file.Close()
}

// Write replaces the file's content by an ID.
func (f *IDFile) Write(id string) error {
	if f.Path == "" {
		return nil
	}
	if err := os.WriteFile(f.Path, []byte(id), 0o644); err != nil {
		return fmt.Errorf("--%s: %w", f.Flag, err)
	}
	return nil
}

// Undo removes the file if Claim made it.
func (f *IDFile) Undo() error {
	if !f.made {
		return nil
	}
	f.made = false
	return os.Remove(f.Path)
}
