package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	securejoin "github.com/cyphar/filepath-securejoin"
	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// Owner is what something newly made in a root filesystem belongs to.
type Owner struct{ UID, GID uint32 }

// dirMode and fileMode are those of what is made, whatever the umask.
const (
	dirMode  = 0o755
	fileMode = 0o644
)

// EnsureDir makes sure that there is a directory at name within root. Those
// that are missing are made with owner and mode 0755; what exists stays as it
// is. Symlinks are followed within the root. ErrInvalidArgument if something
// else is in the way. It is idempotent.
func EnsureDir(root, name string, owner Owner) error {
	dir, err := ensureDir(root, name, owner)
	if err != nil {
		return fmt.Errorf("making directory %q of the container: %w", name, reduced(err))
	}
	return dir.Close()
}

// ensureDir returns a handle to the directory.
func ensureDir(root, name string, owner Owner) (*os.File, error) {
	r, err := openRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	dir, err := openDir(r, name)
	if !errors.Is(err, os.ErrNotExist) {
		return dir, err
	}
	var built string
	for part := range strings.SplitSeq(strings.Trim(inRoot(name), "/"), "/") {
		built = path.Join(built, part)
		if dir, err = openDir(r, built); errors.Is(err, os.ErrNotExist) {
			dir, err = makeDir(r, built, owner)
		}
		if err != nil {
			return nil, err
		}
		if built != strings.Trim(inRoot(name), "/") {
			dir.Close()
		}
	}
	return dir, nil
}

func openDir(root rootDir, name string) (*os.File, error) {
	dir, err := root.find(name)
	if err != nil {
		return nil, err
	}
	if info, err := dir.Stat(); err != nil || !info.IsDir() {
		dir.Close()
		if err == nil {
			err = fmt.Errorf("%q is not a directory: %w", name, errdefs.ErrInvalidArgument)
		}
		return nil, err
	}
	return dir, nil
}

func makeDir(root rootDir, name string, owner Owner) (*os.File, error) {
	dir, err := pathrs.MkdirAllHandle(root.File, name, dirMode)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(dir.Chown(int(owner.UID), int(owner.GID)), dir.Chmod(dirMode)); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// EnsureFile makes sure that there is something other than a directory at name
// within root, for a file to be mounted over: an empty file with owner and mode
// 0644 if nothing is, in directories as [EnsureDir] makes them. A symlink that
// leads nowhere, as many images have for /etc/resolv.conf, gets its target
// made within the root. ErrInvalidArgument if a directory is there. It is
// idempotent.
func EnsureFile(root, name string, owner Owner) error {
	if err := ensureFile(root, name, owner); err != nil {
		return fmt.Errorf("making file %q of the container: %w", name, reduced(err))
	}
	return nil
}

func ensureFile(root, name string, owner Owner) error {
	handle, err := findIn(root, name)
	if err == nil {
		defer handle.Close()
		info, err := handle.Stat()
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%q is a directory: %w", name, errdefs.ErrInvalidArgument)
		}
		return err
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Where a dangling symlink leads to, in words; what is made there is made
	// by a look-up of its own within the root.
	target, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return err
	}
	name = inRoot(strings.TrimPrefix(target, path.Clean(root)))
	dir, err := ensureDir(root, path.Dir(name), owner)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), path.Base(name), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, fileMode)
	if errors.Is(err, unix.EEXIST) { // made meanwhile
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "creating", Path: name, Err: err}
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	return errors.Join(file.Chown(int(owner.UID), int(owner.GID)), file.Chmod(fileMode))
}
