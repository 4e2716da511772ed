//go:build rootful

package monitor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/logs"
	"github.com/davit-containers/davit/ctr/monitor"
)

// Any bytes, in lines of any length, come back from the log and from the attach
// socket as they were.
func TestAnyBytes(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		rnd := rand.New(rand.NewPCG(7, 8))
		data := make([]byte, 4_000_000)
		for i := range data {
			data[i] = byte(rnd.IntN(256))
			if i > 1_000_000 && i < 3_000_000 && data[i] == '\n' {
				data[i] = 0 // a line of two megabytes
			}
		}
		if err := os.WriteFile(filepath.Join(r.rootfs, "tmp/data"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		c := r.create(r.spec("sh", "-c", "cat /tmp/data; cat /tmp/data >&2"), nil)
		a := c.attach()
		c.start()
		var out, errs bytes.Buffer
		if err := a.Copy(c.ctx(30*time.Second), monitor.Output{Stdout: &out, Stderr: &errs}); err != nil {
			t.Fatal(err)
		}
		c.wait()
		if !bytes.Equal(out.Bytes(), data) || !bytes.Equal(errs.Bytes(), data) {
			t.Errorf("attached: %d and %d bytes", out.Len(), errs.Len())
		}
		out.Reset()
		errs.Reset()
		if err := logs.Read(t.Context(), logs.Options{Path: c.cfg.Paths.Log}, logs.Sinks{Stdout: &out, Stderr: &errs}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), data) || !bytes.Equal(errs.Bytes(), data) {
			t.Errorf("logged: %d and %d bytes", out.Len(), errs.Len())
		}
	})
}

// A follower sees every line while the log is rotated under it.
func TestFollowThroughRotation(t *testing.T) {
	r := newNamed(t, "runc")
	c := r.create(r.spec("sh", "-c", "i=0; while [ $i -lt 60000 ]; do echo $i; i=$((i+1)); done"), nil)
	log := c.cfg.Paths.Log
	done, read := make(chan struct{}), make(chan error, 1)
	var out bytes.Buffer
	go func() {
		read <- logs.Read(c.ctx(60*time.Second), logs.Options{Path: log, Follow: true, Done: done}, logs.Sinks{Stdout: &out})
	}()
	c.start()
	for i := range 10 {
		time.Sleep(10 * time.Millisecond)
		if err := os.Rename(log, fmt.Sprintf("%s.%d", log, i)); err != nil {
			t.Fatal(err)
		}
		if err := monitor.ReopenLog(c.ctx(10*time.Second), c.cfg.Paths.Bundle, log); err != nil {
			// It may have ended meanwhile.
			if _, found, _ := monitor.ReadExit(c.cfg.Paths.PersistDir); !found {
				t.Fatal(err)
			}
			break
		}
	}
	c.wait()
	close(done)
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range 60000 {
		fmt.Fprintln(&want, i)
	}
	if out.String() != want.String() {
		t.Errorf("%d bytes, want %d", out.Len(), want.Len())
	}
}

// A full disk holds nobody up: the log has a gap, and goes on later.
func TestF27LogOnAFullDisk(t *testing.T) {
	r := newNamed(t, "runc")
	dir := filepath.Join(r.dir, "full")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	log := filepath.Join(dir, "log")
	c := r.create(r.spec("sh", "-c", "yes 0123456789abcdef | head -c 1000000; read a; echo later"), func(cfg *monitor.Config) {
		cfg.Paths.Log, cfg.Streams.Stdin = log, true
	})
	a := c.attach()
	c.start()
	ctx, cancel := context.WithCancel(c.ctx(20 * time.Second))
	out := &counter{}
	if err := a.Copy(ctx, monitor.Output{Stdout: writeFunc(func(p []byte) {
		if out.n += int64(len(p)); out.n == 1_000_000 {
			cancel()
		}
	})}); out.n != 1_000_000 {
		t.Fatalf("%d bytes, %v", out.n, err)
	}
	before, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.ReopenLog(c.ctx(time.Second), c.cfg.Paths.Bundle, log); err != nil {
		t.Errorf("ReopenLog with the file in place: %v", err)
	}
	if after, err := os.Stat(log); err != nil || !os.SameFile(before, after) {
		t.Errorf("the log is another file than before, %v", err)
	}
	if err := os.Truncate(log, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if e := c.wait(); e.Code != 0 {
		t.Errorf("%+v", e)
	}
	if data, err := os.ReadFile(log); err != nil || !strings.HasSuffix(string(data), " stdout F later\n") {
		t.Errorf("%.100q, %v", data, err)
	}
}

type writeFunc func([]byte)

func (f writeFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

// A disk that has no inode left is davit's error at a reopening, and not the
// monitor's death.
func TestF27ReopenLogOnAFullDisk(t *testing.T) {
	r := newNamed(t, "runc")
	dir := filepath.Join(r.dir, "full")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=2"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	log := filepath.Join(dir, "log")
	c := r.create(r.spec("sh", "-c", "read a; echo later"), func(cfg *monitor.Config) {
		cfg.Paths.Log, cfg.Streams.Stdin = log, true
	})
	a := c.attach()
	c.start()
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := monitor.ReopenLog(c.ctx(5*time.Second), c.cfg.Paths.Bundle, log); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("ReopenLog: %v", err)
	}
	if _, err := a.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if e := c.wait(); e.Code != 0 || e.Lost {
		t.Errorf("%+v", e)
	}
	if data, err := os.ReadFile(log + ".1"); err != nil || !strings.HasSuffix(string(data), " stdout F later\n") {
		t.Errorf("%.100q, %v", data, err)
	}
}
