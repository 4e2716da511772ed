package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	ctlFifo = "ctl"
	// maxSize is the largest width or height that the monitor takes.
	maxSize = 1000
	// reopenTimeout bounds ReopenLog.
	reopenTimeout = 10 * time.Second
)

// Resize sets the size, in characters, of the terminal of the container in
// bundle. Sizes over 1000 are cut, the monitor knows no larger ones. A monitor
// that is gone is ErrMonitorGone; one that does not take its messages is
// ErrUnavailable.
func Resize(bundle string, width, height uint16) error {
	return control(bundle, fmt.Sprintf("1 %d %d\n", min(height, maxSize), min(width, maxSize)))
}

// control writes one message, atomically, as it is shorter than PIPE_BUF.
func control(bundle, msg string) error {
	f, err := os.OpenFile(filepath.Join(bundle, ctlFifo), os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, fs.ErrNotExist):
		return ErrMonitorGone
	case err != nil:
		return fmt.Errorf("opening the monitor's fifo: %w", err)
	}
	defer func() { _ = f.Close() }()
	// Without the deadline Write would wait for room.
	if err := f.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("writing to the monitor's fifo: %w", err)
	}
	_, err = f.WriteString(msg)
	switch {
	case errors.Is(err, unix.EPIPE):
		return ErrMonitorGone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the container's monitor takes no messages: %w", errdefs.ErrUnavailable)
	case err != nil:
		return fmt.Errorf("writing to the monitor's fifo: %w", err)
	}
	return nil
}

// ReopenLog has the monitor of bundle go on in a new file at logPath, after
// somebody has renamed the old one away; when a file is still there nothing
// happens, as the monitor would throw it away. It returns once the monitor
// writes to the new file, or when ctx or its own time ends.
//
// The monitor opens logPath.tmp and renames it, and dies if that fails. So that
// file is made here before: a full disk or a missing folder is the caller's
// error, and the container goes on with the old file. Nothing is left behind
// after an error; a monitor that is gone is ErrMonitorGone.
func ReopenLog(ctx context.Context, bundle, logPath string) error {
	ctx, cancel := context.WithTimeout(ctx, reopenTimeout)
	defer cancel()
	switch _, err := os.Lstat(logPath); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("reopening log: %w", err)
	}
	tmp := logPath + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reopening log: %w", err)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("reopening log: %w", err)
	}
	made, err := f.Stat()
	_ = f.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("reopening log: %w", err), os.Remove(tmp))
	}
	changed, stop := watchDir(ctx, filepath.Dir(logPath), nil)
	defer stop()
	if err := control(bundle, "2 0 0\n"); err != nil {
		return errors.Join(fmt.Errorf("reopening log: %w", err), os.Remove(tmp))
	}
	for {
		if now, err := os.Lstat(logPath); err == nil && os.SameFile(now, made) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			err := fmt.Errorf("reopening log: the container's monitor did not do it in time: %w", ctx.Err())
			if rerr := os.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				return errors.Join(err, rerr)
			}
			return err
		}
	}
}
