package archive

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Root is a folder to which file access is confined.
type Root struct{ dir *os.File }

// OpenRoot opens a folder as a Root. The caller closes it.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "opening root", Path: path, Err: err}
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
	unix.Umask(0o022)
	return f()
}
