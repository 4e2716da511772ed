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
//
// Where keep is set the monitor's end is kept as well, until stop is called: it tells,
// also of a monitor that has exited meanwhile, whether it had ended the output before.
// The output has no other end then. It is for who says by other means when the container
// has ended; failing that gone is closed, and the reader woken, when the monitor has
// exited, after its exit command.
func (a *Attachment) bound(ctx context.Context, limit time.Duration, keep bool) (stop func()) {
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
				process, end, err := a.limit(peer, limit)
				if err != nil {
					return
				}
				if keep {
					a.keepEnd(ctx, process)
				}
				_, _ = process.Close(), unix.Close(end)
				return
			}
		}
	})
	return func() { cancel(); setting.Wait() }
}

// limit sets SO_SNDTIMEO of the other end of the connection (socket(7)), by a
// duplicate of the descriptor that the monitor has of it (pidfd_getfd(2)), and returns
// that and the monitor.
func (a *Attachment) limit(peer uint32, limit time.Duration) (process *os.File, end int, err error) {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return nil, -1, err
	}
	var of *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { of, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(cerr, err); err != nil {
		return nil, -1, err
	}
	fd, err := unix.PidfdOpen(int(of.Pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, -1, err
	}
	process = os.NewFile(uintptr(fd), "pidfd")
	end, err = endOf(int(of.Pid), fd, peer)
	if err != nil {
		return nil, -1, errors.Join(err, process.Close())
	}
	timeout := unix.NsecToTimeval(limit.Nanoseconds())
	if err := unix.SetsockoptTimeval(end, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return nil, -1, errors.Join(err, process.Close(), unix.Close(end))
	}
	return process, end, nil
}

// keepEnd has the monitor's end kept by the caller until ctx ends. When the monitor has
// exited it closes gone and wakes the reader.
func (a *Attachment) keepEnd(ctx context.Context, monitor *os.File) {
	a.kept.Store(true)
	if err := waitReadable(ctx, monitor); err == nil {
		close(a.gone)
		_ = a.conn.SetReadDeadline(time.Unix(1, 0))
		<-ctx.Done()
	}
}

// endOf is a duplicate of a process' descriptor of the socket with an inode.
func endOf(pid, pidfd int, inode uint32) (fd int, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return -1, err
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	for _, e := range entries {
		if target, err := os.Readlink(dir + e.Name()); err != nil || target != want {
			continue
		}
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			return -1, err
		}
		if fd, err = unix.PidfdGetfd(pidfd, n, 0); err != nil {
			return -1, err
		}
		var st unix.Stat_t // the number may be another file's by now
		if err := unix.Fstat(fd, &st); err != nil || st.Ino != uint64(inode) {
			return -1, errors.Join(err, os.ErrNotExist, unix.Close(fd))
		}
		return fd, nil
	}
	return -1, os.ErrNotExist
}

// lostTouch tells, at the end of the output, whether the monitor has ended it for this
// client alone. Where its end is kept there is no other; else it goes on reading from
// the client.
func (a *Attachment) lostTouch() bool {
	if a.kept.Load() {
		return true
	}
	events := a.poll(unix.POLLIN | unix.POLLRDHUP)
	return events&unix.POLLRDHUP != 0 && events&(unix.POLLHUP|unix.POLLERR) == 0
}

// poll is what the connection is ready for, of some events or else.
func (a *Attachment) poll(events int16) (ready int16) {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd), Events: events}}
		if n, err := unix.Poll(ask, 0); err == nil && n == 1 {
			ready = ask[0].Revents
		}
	})
	return ready
}
