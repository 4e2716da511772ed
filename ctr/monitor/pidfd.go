package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// pidfdOf opens a process; ErrNotFound if it is gone. The start time is compared
// after opening: from then on the descriptor, not the pid, names the process.
func pidfdOf(p record.Process) (*os.File, error) {
	if p.Pid <= 0 {
		return nil, fmt.Errorf("process %d: %w", p.Pid, errdefs.ErrNotFound)
	}
	// Non-blocking, so that the runtime's poller takes it.
	fd, err := unix.PidfdOpen(p.Pid, unix.PIDFD_NONBLOCK)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("process %d: %w", p.Pid, errdefs.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("opening process %d: %w", p.Pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !p.Is() {
		_ = f.Close()
		return nil, fmt.Errorf("process %d: %w", p.Pid, errdefs.ErrNotFound)
	}
	return f, nil
}

// Signal sends a signal to a process, and to no other with its pid. One that is gone,
// or a zombie, is ErrNotFound.
func Signal(p record.Process, sig syscall.Signal) error {
	f, err := pidfdOf(p)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if !p.Alive() {
		return fmt.Errorf("process %d: %w", p.Pid, errdefs.ErrNotFound)
	}
	err = unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("process %d: %w", p.Pid, errdefs.ErrNotFound)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("signalling process %d: %w", p.Pid, errdefs.ErrPermissionDenied)
	case err != nil:
		return fmt.Errorf("signalling process %d: %w", p.Pid, err)
	}
	return nil
}

// AwaitGone returns nil when a process is gone, at once if it is already, or ctx's
// error. A child of this process is reaped, and its status lost: do not call it for
// one that somebody else waits for.
func AwaitGone(ctx context.Context, p record.Process) error {
	f, err := pidfdOf(p)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := waitReadable(ctx, f); err != nil {
		return err
	}
	reapPidfd(f)
	return nil
}

// waitReadable waits until a pollable file is readable. A pidfd is when its
// process has ended (pidfd_open(2)).
func waitReadable(ctx context.Context, f *os.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool { return readable(int(fd)) })
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// waitEither waits until one of two pollable files is readable.
func waitEither(ctx context.Context, a, b *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := make(chan error, 2)
	for _, f := range []*os.File{a, b} {
		go func() { first <- waitReadable(ctx, f) }()
	}
	err := <-first
	cancel()
	<-first
	return err
}

// isReadable tells whether a pollable file is readable now.
func isReadable(f *os.File) (is bool) {
	raw, err := f.SyscallConn()
	return err == nil && raw.Control(func(fd uintptr) { is = readable(int(fd)) }) == nil && is
}

func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents != 0
}

// reapPidfd reaps the process if it is our child; that it is not is no error.
func reapPidfd(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED|unix.WNOHANG, nil)
	})
}
