package nspin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// Pin pins the namespace of a kind ("pid") that a process has, at path. start is
// the process's start time, so that another with its pid is never taken for it:
// ErrNotFound then, and when the process is gone.
func Pin(path, kind string, pid int, start uint64) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %w", pid, errdefs.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("opening %s namespace: %w", kind, err)
	}
	defer ns.Close()
	// Looked at once the namespace is held: what has the start time now had the
	// pid when it was opened.
	if now, err := record.ProcessStart(pid); err != nil || now != start {
		return fmt.Errorf("process %d is another one by now: %w", pid, errdefs.ErrNotFound)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("pinning %s namespace: %w", kind, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("pinning %s namespace: %w", kind, err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), path, "", unix.MS_BIND, ""); err != nil {
		return &fs.PathError{Op: "bind mounting namespace on", Path: path, Err: err}
	}
	return nil
}

// Unpin undoes Pin. It is idempotent.
func Unpin(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not a mount point (any more)
		}
		if err != nil {
			return &fs.PathError{Op: "unmount", Path: path, Err: err}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
