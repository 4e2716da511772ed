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

// Pin pins the namespace of a kind ("pid") that a process has, at path. ErrNotFound
// when the process is gone, and another may have its pid.
func Pin(path, kind string, p record.Process) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", p.Pid, kind))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %w", p.Pid, errdefs.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("opening %s namespace: %w", kind, err)
	}
	defer ns.Close()
	// Looked at once the namespace is held: what has the start time now had the
	// pid when it was opened.
	if !p.Is() {
		return fmt.Errorf("process %d is another one by now: %w", p.Pid, errdefs.ErrNotFound)
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

// Unpin undoes Pin, and whatever else has made path and mounted something there. It is
// idempotent.
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
