package trial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage/pkg/lockfile"
	"go.podman.io/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// Is says whether a folder of the driver's is, by its name, one for a trial.
func Is(name string) bool {
	for _, kind := range []string{"compat", "metacopy-check", "opaque-bug-check", "volatile-check"} {
		if n, ok := strings.CutPrefix(name, kind); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			return true
		}
	}
	return false
}

// Due says of a store that is about to be opened whether there may be something to
// sweep: a trial that was killed has not been written down, and is made again. It
// reads one small folder.
func Due(runRoot string) bool {
	entries, err := os.ReadDir(filepath.Join(runRoot, "overlay"))
	if err != nil {
		return true
	}
	for _, what := range []string{"overlay-", "metacopy(", "native-diff(", "idmapped-lower-dir-", "volatile-"} {
		if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), what) }) {
			return true
		}
	}
	return false
}

// Left lists the folders, by name, that killed trials have left in the store at root.
// A trial that is under way is waited for.
func Left(root string) ([]string, error) {
	var left []string
	err := locked(root, func(dir string) (err error) {
		left, err = trials(dir)
		return err
	})
	return left, err
}

// Sweep removes the folders that killed trials have left in the store at root, with
// what is mounted there. A trial that is under way is waited for.
func Sweep(root string) error {
	return locked(root, func(dir string) error {
		names, err := trials(dir)
		for _, name := range names {
			err = errors.Join(err, system.EnsureRemoveAll(filepath.Join(dir, name)))
		}
		if err != nil {
			return fmt.Errorf("removing what the storage driver tried out: %w", err)
		}
		return nil
	})
}

// locked calls f with the driver's folder while nobody tries anything out; not at all
// where there is no folder for a trial, or the store cannot be changed.
func locked(root string, f func(dir string) error) error {
	dir := filepath.Join(root, "overlay")
	if names, err := trials(dir); len(names) == 0 {
		return err
	}
	// In the order in which the library takes them.
	for _, name := range []string{"storage.lock", "overlay-layers/layers.lock"} {
		lock, err := lockfile.GetLockFile(filepath.Join(root, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // nothing was mounted ever
		case errors.Is(err, unix.EROFS):
			return nil
		case err != nil:
			return fmt.Errorf("looking for what the storage driver tried out: %w", err)
		}
		lock.Lock()
		defer lock.Unlock()
	}
	return f(dir)
}

// trials lists the folders for trials.
func trials(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the storage driver's folder: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && Is(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
