package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Root is a folder to which file access is confined.
type Root struct{ dir *os.File }

// OpenRoot opens a folder as a Root. The caller closes it. ErrNotFound if there is
// none.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, classify(path, &os.PathError{Op: "opening", Path: path, Err: err})
	}
	return &Root{os.NewFile(uintptr(fd), path)}, nil
}

// Close closes the root's descriptor.
func (r *Root) Close() error { return r.dir.Close() }

// do runs f on a thread of its own whose root is r. The thread ends with it: it
// is never used for anything else.
func (r *Root) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		done <- r.enter(f)
	}()
	return <-done
}

func (r *Root) enter(f func() error) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leaving the shared root: %w", err)
	}
	if err := unix.Fchdir(int(r.dir.Fd())); err != nil {
		return fmt.Errorf("entering %s: %w", r.dir.Name(), err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("entering %s: %w", r.dir.Name(), err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("entering %s: %w", r.dir.Name(), err)
	}
	unix.Umask(0) // modes are those that a call names
	return f()
}

// openFolder opens the folder at an absolute path by an O_PATH handle. It goes
// through no magic link (proc(5)): with the host's /proc mounted inside, such a link
// leads out of any root. ErrNotImplemented where the kernel cannot refuse them
// (before 5.6).
func openFolder(path string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("opening %q needs openat2(2): %w: %w", path, err, errdefs.ErrNotImplemented)
	case err != nil:
		return nil, &os.PathError{Op: "opening", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openParent opens the folder of what a path leads to, by an O_PATH handle. target is
// that path with its links resolved, the last one, too. ErrNotFound if there is nothing.
func openParent(name string) (folder *os.File, target string, err error) {
	target, err = filepath.EvalSymlinks(path.Clean("/" + name))
	if err == nil {
		folder, err = openFolder(path.Dir(target))
	}
	if err != nil {
		return nil, "", classify(name, err)
	}
	return folder, target, nil
}

// openAt opens what a folder has under a name, and no link, and tells what it is.
func openAt(folder *os.File, name string, flags int) (*os.File, fs.FileInfo, error) {
	fd, err := unix.Openat(int(folder.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "opening", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, fi, nil
}
