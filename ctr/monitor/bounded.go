package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// firstBound is when it is first looked whether the monitor has taken the client.
	firstBound = 5 * time.Millisecond
	// dropBound is how long the monitor waits for a client that drops what it cannot
	// deliver: one that does not read is stopped.
	dropBound = 10 * time.Second
)

// bound has the monitor wait for this client no longer than a limit with each packet.
// It writes to its clients blocking, and this process cannot promise to read: it may
// be stopped. A write that takes longer fails then, and the monitor ends the output of
// the client, see lostTouch. The limit is set as soon as the monitor has accepted the
// connection, and left out where it may not be.
func (a *Attachment) bound(ctx context.Context, limit time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var setting sync.WaitGroup
	setting.Go(func() {
		for wait := firstBound; wait < acceptTimeout; wait *= 2 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if peer, known := a.peer(); !known || peer != 0 {
				_ = a.limit(peer, limit)
				return
			}
		}
	})
	return func() { cancel(); setting.Wait() }
}

// limit sets SO_SNDTIMEO of the other end of the connection (socket(7)), by a
// duplicate of the descriptor that the monitor has of it (pidfd_getfd(2)).
func (a *Attachment) limit(peer uint32, limit time.Duration) error {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return err
	}
	var of *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { of, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(cerr, err); err != nil {
		return err
	}
	process, err := unix.PidfdOpen(int(of.Pid), 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(process) }()
	dir := "/proc/" + strconv.Itoa(int(of.Pid)) + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("socket:[%d]", peer)
	for _, e := range entries {
		if target, err := os.Readlink(dir + e.Name()); err != nil || target != want {
			continue
		}
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(process, n, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		var st unix.Stat_t // the number may be another file's by now
		if err := unix.Fstat(fd, &st); err != nil || st.Ino != uint64(peer) {
			return errors.Join(err, os.ErrNotExist)
		}
		timeout := unix.NsecToTimeval(limit.Nanoseconds())
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout)
	}
	return os.ErrNotExist
}

// lostTouch tells, at the end of the output, whether the monitor has ended it for this
// client alone: it goes on reading from it.
func (a *Attachment) lostTouch() bool {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return false
	}
	lost := false
	err = raw.Control(func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
		n, err := unix.Poll(ask, 0)
		lost = err == nil && n == 1 && ask[0].Revents&unix.POLLRDHUP != 0 && ask[0].Revents&(unix.POLLHUP|unix.POLLERR) == 0
	})
	return err == nil && lost
}
