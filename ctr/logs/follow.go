package logs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// slowPoll is how often a log is looked at where inotify cannot be had.
const slowPoll = 500 * time.Millisecond

// maxQueue bounds the files that wait while a sink is slow.
const maxQueue = 64

// watcher tells of changes of a log, and opens each file that takes its place
// at once, so that none is missed however slow the sink is.
type watcher struct {
	path    string
	notify  *os.File
	changed chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	next  []*os.File
	known map[uint64]bool
}

func watch(path string) (*watcher, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &watcher{path: path, changed: make(chan struct{}, 1), done: make(chan struct{}), known: map[uint64]bool{}}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ONLYDIR
		if _, err = unix.InotifyAddWatch(fd, filepath.Dir(path), mask); err != nil {
			_ = unix.Close(fd)
			if errors.Is(err, unix.ENOENT) {
				return nil, &fs.PathError{Op: "watch", Path: filepath.Dir(path), Err: err}
			}
		} else {
			w.notify = os.NewFile(uintptr(fd), "inotify")
		}
	}
	go w.run()
	return w, nil
}

// run signals the changes; without inotify (none left) by the clock.
func (w *watcher) run() {
	if w.notify == nil {
		tick := time.NewTicker(slowPoll)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
				w.look()
				w.signal()
			}
		}
	}
	defer close(w.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.notify.Read(buf)
		if err != nil {
			return
		}
		if hasNew(buf[:n]) {
			w.look()
		}
		w.signal()
	}
}

// hasNew tells whether a file came among events, see inotify(7). A lost event
// may have been one.
func hasNew(buf []byte) bool {
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := uint32(buf[4]) | uint32(buf[5])<<8 | uint32(buf[6])<<16 | uint32(buf[7])<<24
		if mask&(unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_Q_OVERFLOW) != 0 {
			return true
		}
		n := int(buf[12]) | int(buf[13])<<8 | int(buf[14])<<16 | int(buf[15])<<24
		buf = buf[min(len(buf), unix.SizeofInotifyEvent+n):]
	}
	return false
}

func (w *watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// look queues the file at path if it is one that was not seen.
func (w *watcher) look() {
	f, err := openLog(w.path)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	ino, err := inode(f)
	if err != nil || w.known[ino] || len(w.next) >= maxQueue {
		_ = f.Close()
		return
	}
	w.known[ino] = true
	w.next = append(w.next, f)
}

// seen notes the file that is read already.
func (w *watcher) seen(f *os.File) {
	ino, err := inode(f)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[ino] = true
	for i, n := range w.next {
		if other, err := inode(n); err == nil && other == ino {
			_ = n.Close()
			w.next = append(w.next[:i], w.next[i+1:]...)
			return
		}
	}
}

// take returns the file that comes after the current one, if there is one. An
// inode's number may be used again once the file is closed, so it is forgotten.
func (w *watcher) take(current *os.File) *os.File {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.next) == 0 {
		return nil
	}
	f := w.next[0]
	w.next = w.next[1:]
	if current != nil {
		if ino, err := inode(current); err == nil {
			delete(w.known, ino)
		}
	}
	return f
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.SetReadDeadline(time.Unix(1, 0))
		<-w.done
		_ = w.notify.Close()
	} else {
		w.done <- struct{}{}
	}
	closeAll(w.next)
}

func inode(f *os.File) (uint64, error) {
	var st unix.Stat_t
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = unix.Fstat(int(fd), &st) }); err != nil {
		return 0, err
	}
	return st.Ino, serr
}

// follow goes on from the end of current, which may be nil, and closes it.
func (r *reading) follow(ctx context.Context, current *os.File) error {
	defer func() {
		if current != nil {
			_ = current.Close()
		}
	}()
	if current != nil {
		r.watch.seen(current)
	} else {
		r.begin(start{})
	}
	r.watch.look()
	var expired <-chan time.Time
	if until := r.o.Filter.Until; !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		expired = timer.C
	}
	for done := false; ; {
		if current != nil {
			if err := r.tillNow(ctx, current); err != nil {
				return err
			}
		}
		// The writer has left a file for good once another is in its place.
		if next := r.watch.take(current); next != nil {
			if current != nil {
				if err := r.tillNow(ctx, current); err != nil {
					_ = next.Close()
					return err
				}
				r.tear()
				_ = current.Close()
			}
			current = next
			r.begin(start{})
			continue
		}
		if done {
			r.tear()
			return r.dec.flush()
		}
		select {
		case <-r.watch.changed:
		case <-r.o.Done:
			done = true
			r.watch.look()
		case <-expired:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tillNow reads what was added; a file that was cut short is read anew.
func (r *reading) tillNow(ctx context.Context, f *os.File) error {
	if info, err := f.Stat(); err == nil && info.Size() < r.offset {
		r.begin(start{})
	}
	return r.toEnd(ctx, f)
}
