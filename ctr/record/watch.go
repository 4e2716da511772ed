package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pollEvery is how long a Watch that cannot watch waits before it tries again and
// says Overflow.
const pollEvery = 2 * time.Second

// Event says that an object changed. It carries nothing of it: read the
// object, and let Number tell which is the later of two readings.
type Event struct {
	ID       string
	Gone     bool // the object was removed
	Overflow bool // any object may have changed or gone: List; ID is ""
}

// watchMask has IN_ATTRIB for statuses that are overwritten on a full file
// system, see overwriteStatus.
const watchMask = unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_ATTRIB |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// Watch reports every change of a status, by any process, from the moment it
// returns. The channel is closed when ctx ends. Who reads it slowly loses
// events, and gets an Overflow for them. When the system has no inotify
// instance to spare, an Overflow comes every two seconds instead of events.
func (d *Dir[C, S]) Watch(ctx context.Context) (<-chan Event, error) {
	w := watcher{l: d.l.layout, start: watchPath, every: pollEvery, out: make(chan Event, 64)}
	if err := w.open(); err != nil {
		return nil, err
	}
	go w.run(ctx)
	return w.out, nil
}

// watcher is the goroutine behind a Watch. It ends with the Watch's context.
type watcher struct {
	l     *layout
	start func(path string, mask uint32) (*os.File, error)
	every time.Duration
	out   chan Event

	file   *os.File // nil when there was no inotify instance
	warned bool
}

// open makes the inotify instance, or none when there are no more.
func (w *watcher) open() error {
	f, err := w.start(w.l.status, watchMask)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENOSPC) {
		if !w.warned {
			w.l.log.Warn("no inotify instance to watch records: looking every now and then", "kind", w.l.kind, "err", err)
		}
		w.warned = true
		return nil
	}
	w.file = f
	return err
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	for {
		var err error
		if w.file != nil {
			err = w.pump(ctx)
			w.file.Close()
			w.file = nil
		} else if w.pause(ctx); ctx.Err() == nil {
			err = w.reopen()
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.l.log.Error("watching records", "kind", w.l.kind, "err", err)
		}
		if !w.send(ctx, Event{Overflow: true}) {
			return
		}
	}
}

// reopen is for a run root that was emptied under the Watch, and for when there
// may be inotify again. What happened meanwhile is for the reader to find out.
func (w *watcher) reopen() error {
	if err := w.l.makeFolders(); err != nil {
		return err
	}
	return w.open()
}

func (w *watcher) pause(ctx context.Context) {
	t := time.NewTimer(w.every)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (w *watcher) send(ctx context.Context, e Event) bool {
	select {
	case w.out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// pump passes on what the kernel reports, until ctx ends or the folder is
// not there any more.
func (w *watcher) pump(ctx context.Context) error {
	f := w.file
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return err
		}
		events, gone := parseEvents(buf[:n])
		for _, e := range events {
			if !w.send(ctx, e) {
				return nil
			}
		}
		if gone {
			return nil
		}
	}
}

// parseEvents reads the records of inotify(7). gone says that the watched
// folder is not there any more.
func parseEvents(buf []byte) (events []Event, gone bool) {
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(buf[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[12:]))
		if size > len(buf) {
			break
		}
		name := string(bytes.TrimRight(buf[unix.SizeofInotifyEvent:size], "\x00"))
		buf = buf[size:]
		switch id, ok := strings.CutSuffix(name, jsonSuffix); {
		case mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
			gone = true
		case mask&unix.IN_Q_OVERFLOW != 0:
			events = append(events, Event{Overflow: true})
		case ok && validID(id):
			events = append(events, Event{ID: id, Gone: mask&unix.IN_DELETE != 0})
		}
	}
	return events, gone
}
