package record

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Every flock here is on an open file description made for it, close-on-exec
// and never handed to a child, so that it ends with its owner, but for a fork of it
// that never becomes a program: who waits kills that (see endForks). It is released
// by LOCK_UN before the descriptor is closed: a child between fork and exec
// has a copy of the descriptor, and would keep the lock for a moment longer.
//
// What a lock file's removal means for those who wait on it: after every lock
// the file's link count is looked at. 0 means that the file went while we
// waited, and that the lock excludes nobody; the path is opened again.

const (
	pauseMin = 50 * time.Microsecond
	pauseMax = 10 * time.Millisecond  // where nothing wakes us
	pauseLax = 250 * time.Millisecond // where inotify does
	lookTime = 400 * time.Millisecond // the last pause for those who only look
)

// errLocked is what tryLock and waitLock return for a lock that others hold.
var errLocked = errors.New("locked")

// tryLock takes a lock (unix.LOCK_EX or LOCK_SH) without waiting.
func tryLock(fd, how int) error {
	for {
		err := unix.Flock(fd, how|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return errLocked
		}
		return err
	}
}

func unlock(fd int) {
	_ = unix.Flock(fd, unix.LOCK_UN)
	unix.Close(fd)
}

// waitLock takes a lock. It waits while it is contended, in growing pauses: a
// blocking flock cannot be given up when ctx ends, then it returns errLocked, or
// when the process that has the lock is stopped, then it is a stoppedError.
// With notify it is woken when somebody closes the file of that path, and
// pauses longer in between.
func waitLock(ctx context.Context, fd, how int, notify string) error {
	err := tryLock(fd, how)
	if !errors.Is(err, errLocked) {
		return err
	}
	wait, longest := pauser{}, pauseMax
	if notify != "" {
		// Locks end when their file is closed: by End, by the kernel for a
		// process that was killed. The event comes before the lock is gone,
		// which is why the pauses start small again after it.
		wait.file, _ = watchPath(notify, unix.IN_CLOSE_WRITE|unix.IN_DELETE_SELF|unix.IN_ATTRIB)
		if wait.file != nil {
			longest = pauseLax
			defer wait.file.Close()
			defer context.AfterFunc(ctx, func() { _ = wait.file.SetReadDeadline(time.Unix(1, 0)) })()
		}
	}
	pause := pauseMin
	var patience Patience
	for {
		err := tryLock(fd, how)
		if !errors.Is(err, errLocked) || ctx.Err() != nil {
			return err
		}
		if pause > pauseMax/2 {
			if pid := patience.Look(fd); pid != 0 {
				return &stoppedError{pid}
			}
		}
		if wait.sleep(ctx, pause) {
			pause = pauseMin
		} else {
			pause = min(2*pause, longest)
		}
	}
}

// ended is a context that has ended: with it a lock is tried once.
type ended struct{}

var _ context.Context = ended{}

func (ended) Deadline() (time.Time, bool) { return time.Time{}, false }
func (ended) Done() <-chan struct{}       { return nil }
func (ended) Err() error                  { return context.Canceled }
func (ended) Value(any) any               { return nil }

// never is a context that does not end.
type never struct{ ended }

func (never) Err() error { return nil }

// pauser sleeps until a time is over, ctx ends or its file has events.
type pauser struct {
	file *os.File // an inotify instance, nil for none
}

// sleep reports whether there were events.
func (p pauser) sleep(ctx context.Context, d time.Duration) bool {
	if p.file != nil {
		err := p.file.SetReadDeadline(time.Now().Add(d))
		if err == nil && ctx.Err() == nil {
			var buf [4096]byte
			_, err = p.file.Read(buf[:])
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				return err == nil
			}
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}

// dirLock is a flock on a folder.
type dirLock struct{ fd int }

func (d dirLock) release() { unlock(d.fd) }

// lockDir locks a folder exclusively. The error is fs.ErrNotExist for one
// that is not there, or went while we waited.
func lockDir(ctx context.Context, path string) (dirLock, error) {
	for {
		fd, err := open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			return dirLock{}, err
		}
		if err := waitLock(ctx, fd, unix.LOCK_EX, ""); err != nil {
			unix.Close(fd)
			return dirLock{}, err
		}
		if linked(fd) {
			return dirLock{fd: fd}, nil
		}
		unlock(fd)
	}
}

// linked says whether the open file still has a name.
func linked(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Nlink > 0
}

// watchPath makes an inotify instance with one watch. Reading it honours
// deadlines and Close.
func watchPath(path string, mask uint32) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, mask); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "watching", Path: path, Err: err}
	}
	return f, nil
}
