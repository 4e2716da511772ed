package ctr

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/volume"
)

// logged is a running container with a log that has a limit, and this process for its
// process and its monitor.
func logged(t *testing.T, c *Controller) (id, log string) {
	t.Helper()
	c.o.Volumes = volume.New(volume.Options{Root: t.TempDir()}) // Tidy looks after them, too
	self, err := record.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	id = NewID()
	cfg := Config{Name: id[:12], Log: Log{MaxSize: minLogSize}}
	s := Status{State: Running, Start: 1}
	s.Pid, s.PidStart, s.MonitorPid, s.MonitorStart = self.Pid, self.Start, self.Pid, self.Start
	op, err := c.dir.Create(t.Context(), record.Meta{ID: id, Owner: record.OwnerCLI, Key: id[:12]}, cfg, s, record.CreateOptions{})
	if err == nil {
		err = op.End()
	}
	if err == nil {
		err = os.Mkdir(c.bundle(id), 0o700)
	}
	if err == nil {
		err = unix.Mkfifo(filepath.Join(c.bundle(id), "ctl"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id, ownLog(c.records, id)
}

// reopens has the log of a container opened anew when that is asked for, as a monitor
// does it.
func reopens(t *testing.T, c *Controller, id string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(c.bundle(id), "ctl"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	log, done := ownLog(c.records, id), make(chan struct{})
	go func() {
		defer close(done)
		for asked := bufio.NewScanner(f); asked.Scan(); {
			if err := os.Rename(log+".tmp", log); err != nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() {
		_ = f.Close()
		<-done
	})
}

// files are what there is of a log, each file by what it begins with.
func files(t *testing.T, log string) string {
	t.Helper()
	var out []string
	for _, path := range append([]string{log, log + ".tmp"}, rotated(log)...) {
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(data), " ")
		out = append(out, strings.TrimPrefix(filepath.Base(path), "container.")+"="+text)
	}
	return strings.Join(out, " ")
}

// A log whose rotation was cut short is rotated as any other from then on.
func TestRotationThatWasCutShort(t *testing.T) {
	full := strings.Repeat(" ", minLogSize)
	for _, tt := range []struct {
		name  string
		there map[string]string
		want  string
	}{
		{name: "outgrown", there: map[string]string{"": "c" + full, ".1": "b", ".2": "a"}, want: "log= log.2=b log.1=c"},
		{name: "small", there: map[string]string{"": "c"}, want: "log=c"},
		{name: "killed before it is moved", there: map[string]string{"": "c" + full, ".2": "b"}, want: "log= log.2=b log.1=c"},
		{name: "killed before a new one is opened", there: map[string]string{".1": "c", ".2": "b"}, want: "log= log.2=b log.1=c"},
		{name: "killed when it is asked for", there: map[string]string{".1": "c", ".tmp": ""}, want: "log= log.1=c"},
		{name: "none", want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t)
			id, log := logged(t, c)
			reopens(t, c, id)
			for suffix, text := range tt.there {
				if err := os.WriteFile(log+suffix, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := c.Tidy(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := files(t, log); got != tt.want {
				t.Errorf("there is %q, want %q", got, tt.want)
			}
		})
	}
}

// A log that its monitor cannot be asked to open anew stays where it is written to, and
// is rotated when it can be.
func TestRotationThatFails(t *testing.T) {
	c := testController(t)
	id, log := logged(t, c)
	if err := os.WriteFile(log, []byte("c"+strings.Repeat(" ", minLogSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(log+".tmp/full", 0o700); err != nil { // in the place of what a full disk has no room for
		t.Fatal(err)
	}
	if err := c.Tidy(t.Context()); err == nil {
		t.Error("a log that cannot be rotated is not told of")
	}
	if err := os.RemoveAll(log + ".tmp"); err != nil {
		t.Fatal(err)
	}
	if got := files(t, log); got != "log=c" {
		t.Errorf("its disk is full, and there is %q", got)
	}
	reopens(t, c, id)
	if err := c.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := files(t, log); got != "log= log.1=c" {
		t.Errorf("there is %q", got)
	}
}

// The log of a container whose monitor is gone is left alone: nobody writes to it.
func TestRotationWithoutAMonitor(t *testing.T) {
	c := testController(t)
	id, log := logged(t, c)
	_, err := c.dir.Update(t.Context(), id, func(s Status) (Status, error) {
		s.MonitorPid, s.MonitorStart = gonePid, goneStart
		return s, nil
	})
	if err == nil {
		err = os.WriteFile(log, []byte("c"+strings.Repeat(" ", minLogSize)), 0o600)
	}
	if err == nil {
		err = c.Tidy(t.Context())
	}
	if got := files(t, log); err != nil || got != "log=c" {
		t.Errorf("there is %q, %v", got, err)
	}
}

// A monitor that is slow may do later what it was asked to, over what is in the log's
// place then: nothing is moved back there.
func TestRotationByASlowMonitor(t *testing.T) {
	c := testController(t)
	id, log := logged(t, c)
	f, err := os.OpenFile(filepath.Join(c.bundle(id), "ctl"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(log, []byte("c"+strings.Repeat(" ", minLogSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Tidy(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if got := files(t, log); got != "log.1=c" {
		t.Errorf("there is %q", got)
	}
}
