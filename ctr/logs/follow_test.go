package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// shared is a buffer that is read while it is written.
type shared struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// following runs Read beside the test; finish ends it.
func following(t *testing.T, o Options) (out *shared, finish func() error) {
	t.Helper()
	out = &shared{}
	done, ended := make(chan struct{}), make(chan error, 1)
	o.Follow, o.Done = true, done
	go func() { ended <- Read(t.Context(), o, Sinks{out, out}) }()
	return out, func() error {
		close(done)
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Second):
			return fmt.Errorf("it does not end")
		}
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	out, finish := following(t, Options{Path: path})
	time.Sleep(20 * time.Millisecond)
	appendTo(t, path, stamp+" stdout F one\n"+stamp+" stdout P tw")
	eventually(t, "a log that comes later", func() bool { return out.String() == "one\n" })
	appendTo(t, path, "o \n"+stamp+" stdout F three\n")
	eventually(t, "a line in two writes", func() bool { return out.String() == "one\ntwo three\n" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path+".1", stamp+" stdout F four\n")
	appendTo(t, path, stamp+" stdout F five\n")
	eventually(t, "rotation", func() bool { return out.String() == "one\ntwo three\nfour\nfive\n" })
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "truncation", func() bool {
		// Written until it is seen: a file that is as long as before again
		// cannot be told from one that was not cut.
		return len(out.String()) >= len("one\ntwo three\nfour\nfive\n")
	})
	time.Sleep(20 * time.Millisecond)
	appendTo(t, path, stamp+" stdout F six\n")
	appendTo(t, path, stamp+" stderr F the end")
	if err := finish(); err != nil {
		t.Fatal(err)
	}
	if want := "one\ntwo three\nfour\nfive\nsix\nthe end"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestFollowFromTheTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, stamp+" stdout F one\n"+stamp+" stdout F two\n")
	out, finish := following(t, Options{Path: path, Filter: Filter{Tail: ptr(1)}})
	eventually(t, "tail", func() bool { return out.String() == "two\n" })
	appendTo(t, path, stamp+" stdout F three\n")
	if err := finish(); err != nil || out.String() != "two\nthree\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// slow is a sink that keeps its reader behind.
type slow struct{ *shared }

func (s slow) Write(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return s.shared.Write(p)
}

// Rotations come faster than the sink takes lines, and none is missed.
func TestFollowFastRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write(t, path, "")
	out := slow{&shared{}}
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- Read(t.Context(), Options{Path: path, Follow: true, Done: done}, Sinks{out, out}) }()
	time.Sleep(20 * time.Millisecond)
	var want bytes.Buffer
	for i := range 40 {
		for j := range 50 {
			line := fmt.Sprintf("line %d.%d\n", i, j)
			want.WriteString(line)
			appendTo(t, path, stamp+" stdout F "+line)
		}
		// As the monitor does: the new file is renamed over, or into the gap.
		if i%2 == 0 {
			if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
				t.Fatal(err)
			}
		}
		write(t, path+".tmp", "")
		if err := os.Rename(path+".tmp", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Errorf("got %d bytes, want %d", len(out.String()), want.Len())
	}
}
