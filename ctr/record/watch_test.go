package record

import (
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// next waits for the event that is wanted, over others of the same object.
func next(t *testing.T, events <-chan Event, want Event) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if e == want {
				return
			}
			if !ok || e.ID != want.ID {
				t.Fatalf("got %+v, %v, want %+v", e, ok, want)
			}
		case <-timeout:
			t.Fatalf("no %+v", want)
		}
	}
}

func TestWatch(t *testing.T) {
	d := newDir(t)
	ctx, stop := context.WithCancel(t.Context())
	events, err := d.Watch(ctx)
	must(t, err)
	create(t, d, "a", "web")
	next(t, events, Event{ID: "a"})
	create(t, d, "b", "")
	next(t, events, Event{ID: "b"})
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) { return s, nil })
	must(t, err)
	next(t, events, Event{ID: "a"})
	must(t, d.Rename(t.Context(), "b", "db"))
	next(t, events, Event{ID: "b"})
	if e, err := d.Get("b"); err != nil || e.Key != "db" {
		// The last of a rename's events comes when all of it can be read.
		next(t, events, Event{ID: "b"})
	}
	op, err := d.TryBegin("a", "rm")
	must(t, err)
	must(t, op.Remove(t.Context()))
	for {
		e := <-events
		if e == (Event{ID: "a", Gone: true}) {
			break
		}
		if e != (Event{ID: "b"}) {
			t.Fatalf("%+v", e)
		}
	}
	stop()
	for range events {
		t.Error("an event after the end")
	}
}

// TestRenameIsSeenLast: who reads at each event ends up with the new name.
func TestRenameIsSeenLast(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "web")
	events, err := d.Watch(t.Context())
	must(t, err)
	must(t, d.Rename(t.Context(), "a", "db"))
	key := ""
	for key != "db" {
		next(t, events, Event{ID: "a"})
		e, err := d.Get("a")
		must(t, err)
		key = e.Key
	}
}

// TestWatchOverflow: who does not read in time is told so.
func TestWatchOverflow(t *testing.T) {
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil || string(data) != "16384\n" {
		t.Skipf("the length of inotify's queue is %q, %v", data, err)
	}
	d := testDir(t, memoryPaths(t))
	create(t, d, "a", "")
	create(t, d, "b", "")
	events, err := d.Watch(t.Context())
	must(t, err)
	text, err := os.ReadFile(d.l.statusPath("a"))
	must(t, err)
	for range 11_000 { // two of the same in a row would be one
		must(t, d.l.replaceStatus("a", text))
		must(t, d.l.replaceStatus("b", text))
	}
	n := 0
	for e := range events {
		if n++; e.Overflow {
			break
		}
	}
	t.Logf("overflow after %d events", n)
	create(t, d, "c", "")
	next(t, events, Event{ID: "c"})
}

// TestWatchOutlivesItsFolder: the run root is emptied under a Watch.
func TestWatchOutlivesItsFolder(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "")
	w := watcher{l: d.l.layout, start: watchPath, every: time.Millisecond, out: make(chan Event)}
	must(t, w.open())
	go w.run(t.Context())
	reboot(t, p)
	for overflows := 0; overflows < 2; { // when it went, and when there is a new one
		if e := <-w.out; e.Overflow {
			overflows++
		}
	}
	_, err := d.Update(t.Context(), "a", func(s state) (state, error) { return s, nil })
	must(t, err)
	next(t, w.out, Event{ID: "a"})
}

func TestWatchWithoutInotify(t *testing.T) {
	d := newDir(t)
	ctx, stop := context.WithCancel(t.Context())
	tries := 0
	w := watcher{l: d.l.layout, every: time.Millisecond, out: make(chan Event)}
	w.start = func(path string, mask uint32) (*os.File, error) {
		if tries++; tries < 4 {
			return nil, os.NewSyscallError("inotify_init1", unix.EMFILE)
		}
		return watchPath(path, mask)
	}
	must(t, w.open())
	go w.run(ctx)
	for range 3 {
		next(t, w.out, Event{Overflow: true})
	}
	// By now there is inotify again.
	create(t, d, "a", "")
	next(t, w.out, Event{ID: "a"})
	stop()
	for range w.out {
		t.Error("an event after the end")
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00a.json\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xff\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, _ := parseEvents(data)
		for _, e := range events {
			if !e.Overflow && !validID(e.ID) {
				t.Errorf("%+v", e)
			}
		}
	})
}
