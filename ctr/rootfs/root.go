package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// rootDir is an open root filesystem.
type rootDir struct{ *os.File }

func openRoot(name string) (rootDir, error) {
	dir, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	return rootDir{dir}, err
}

// lookups bounds how often a look-up is repeated that a rename on its way has
// disturbed.
const lookups = 64

// find returns an O_PATH handle of what name leads to within the root. One
// openat2(2) is all that it takes; pathrs-lite, twenty times slower, steps in
// where a kernel (before 5.6) or a seccomp filter does not have the call.
func (r rootDir) find(name string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range lookups {
		fd, err := unix.Openat2(int(r.Fd()), name, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM):
			return pathrs.OpenatInRoot(r.File, name)
		}
		return nil, err
	}
	return nil, unix.EAGAIN
}

// findIn is find for a root that is used once.
func findIn(root, name string) (*os.File, error) {
	r, err := openRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.find(name)
}

// fdPath names an open file in the host's /proc, which is this process's own
// and no container's.
func fdPath(f *os.File) string { return "/proc/thread-self/fd/" + strconv.Itoa(int(f.Fd())) }

// reopen opens what an O_PATH handle pins.
func reopen(handle *os.File, flags int) (*os.File, error) {
	fd, err := unix.Open(fdPath(handle), flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), handle.Name()), nil
}

// Within is the path, on the host, of what name leads to within root: a directory
// or a regular file. Symlinks are followed within the root. Absent, or not
// reachable within the root: ErrNotFound. A path with .., or anything else that
// is there: ErrInvalidArgument. It holds as long as nobody changes the tree.
func Within(root, name string) (string, error) {
	r, err := openRoot(root)
	if err != nil {
		return "", err
	}
	defer r.Close()
	handle, _, err := r.mountable(name)
	if err != nil {
		return "", err
	}
	defer handle.Close()
	inside := r.pathOf(handle)
	if inside == "" {
		return "", fmt.Errorf("path %q: %w", name, errdefs.ErrNotFound)
	}
	return path.Join(root, inside), nil
}

// Pin mounts what name leads to within root, a directory or a regular file, at path,
// which it makes in a folder that others cannot write to. What is mounted is what was
// found and stays so, whatever is done in root to the names that have led there, by who
// may write in it. To undo it, path is unmounted and removed. Errors are those of
// [Within]; nothing is left then.
func Pin(root, name, path string) error {
	handle, dir, err := pinned(root, name)
	if err != nil {
		return err
	}
	defer handle.Close()
	if dir {
		err = os.Mkdir(path, 0o700)
	} else {
		err = unix.Mknod(path, unix.S_IFREG|0o600, 0) // a new one, or none
	}
	if err != nil {
		return fmt.Errorf("pinning %q: %w", name, err)
	}
	if err := unix.Mount(fdPath(handle), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return errors.Join(fmt.Errorf("pinning %q: %w", name, err), os.Remove(path))
	}
	return nil
}

// pinned is mountable for a root that is used once.
func pinned(root, name string) (handle *os.File, dir bool, err error) {
	r, err := openRoot(root)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	return r.mountable(name)
}

// mountable returns an O_PATH handle of what name leads to within the root, which is
// a directory or a regular file.
func (r rootDir) mountable(name string) (handle *os.File, dir bool, err error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return nil, false, fmt.Errorf("path %q has ..: %w", name, errdefs.ErrInvalidArgument)
	}
	if handle, err = r.find(inRoot(name)); err != nil {
		return nil, false, fmt.Errorf("path %q: %w", name, classed(err))
	}
	info, err := handle.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("path %q: %w", name, classed(err))
	case !info.IsDir() && !info.Mode().IsRegular():
		err = fmt.Errorf("path %q is neither a directory nor a regular file: %w", name, errdefs.ErrInvalidArgument)
	default:
		return handle, info.IsDir(), nil
	}
	return nil, false, errors.Join(err, handle.Close())
}

// pathOf is the path within the root of an open file; empty if it has left.
func (r rootDir) pathOf(f *os.File) string {
	base, err := os.Readlink(fdPath(r.File))
	if err != nil {
		return ""
	}
	full, err := os.Readlink(fdPath(f))
	if err != nil || full != base && !strings.HasPrefix(full, strings.TrimSuffix(base, "/")+"/") {
		return ""
	}
	return inRoot(strings.TrimPrefix(full, base))
}

// inRoot makes name absolute and clean, for messages and comparisons only: it
// is the kernel that keeps it in the root.
func inRoot(name string) string { return path.Clean("/" + name) }

// classed reduces an error of a look-up within a root to what the kernel said,
// with ErrNotFound for what cannot be reached. The library's text names the
// root's place on the host, of no use to the reader.
func classed(err error) error {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		return err
	}
	if errno == unix.ENOENT || errno == unix.ENOTDIR || errno == unix.ELOOP {
		return fmt.Errorf("%w: %w", errno, errdefs.ErrNotFound)
	}
	return errno
}

// reduced is classed without a class of its own: what is missing while
// something is made is no answer about the thing itself.
func reduced(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}
