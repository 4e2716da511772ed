package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pollEvery is how often a Watch without inotify says Overflow.
const pollEvery = 2 * time.Second

// Event says that an object changed. It carries nothing of it: read the
// object, and let Number tell which is the later of two readings.
type Event struct {
	ID       string
	Gone     bool // the object was removed
	Overflow bool // any object may have changed or gone: List; ID is ""
}

// Watch reports every change of a status, by any process, from the moment it
// returns. The channel is closed when ctx ends. Who reads it slowly loses
// events, and gets an Overflow for them. When the system has no inotify
// instance to spare, an Overflow comes every two seconds instead of events.
func (d *Dir[C, S]) Watch(ctx context.Context) (<-chan Event, error) {
	return d.l.watch(ctx, func() (*os.File, error) {
		return watchPath(d.l.status, unix.IN_MOVED_TO|unix.IN_DELETE|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
	})
}

func (l *layout) watch(ctx context.Context, start func() (*os.File, error)) (<-chan Event, error) {
	f, err := start()
	if err != nil && !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENOSPC) {
		return nil, fmt.Errorf("watching %s: %w", l.kind, err)
	}
	out := make(chan Event, 64)
	if err != nil {
		l.log.Warn("no inotify instance: looking for changes every 2 s", "kind", l.kind, "err", err)
		go poll(ctx, out)
		return out, nil
	}
	go l.pump(ctx, f, out)
	return out, nil
}

func poll(ctx context.Context, out chan<- Event) {
	defer close(out)
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !send(ctx, out, Event{Overflow: true}) {
			return
		}
	}
}

func send(ctx context.Context, out chan<- Event, e Event) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// pump turns what the kernel reports into events until ctx ends. It owns f.
func (l *layout) pump(ctx context.Context, f *os.File, out chan<- Event) {
	defer close(out)
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if err != nil {
			if ctx.Err() == nil {
				l.log.Error("watching records", "kind", l.kind, "err", err)
			}
			return
		}
		for _, e := range parseEvents(buf[:n]) {
			if !send(ctx, out, e) {
				return
			}
		}
	}
}

// parseEvents reads the records of inotify(7).
func parseEvents(buf []byte) []Event {
	var events []Event
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(buf[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[12:]))
		if size > len(buf) {
			break
		}
		name := string(bytes.TrimRight(buf[unix.SizeofInotifyEvent:size], "\x00"))
		buf = buf[size:]
		switch id, ok := strings.CutSuffix(name, jsonSuffix); {
		case mask&(unix.IN_Q_OVERFLOW|unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
			events = append(events, Event{Overflow: true})
		case ok && validID(id):
			events = append(events, Event{ID: id, Gone: mask&unix.IN_DELETE != 0})
		}
	}
	return events
}
