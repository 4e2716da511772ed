package oci

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/ctr/record"
)

// TestRelease: the init that waits at its FIFO goes on without a run of the runtime,
// and where there is none, or more to do, the runtime is run.
func TestRelease(t *testing.T) {
	reads := func(fifo string) (string, error) { // as crun's init does
		fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(poll, 5000)
		b := make([]byte, 10)
		n, err := unix.Read(fd, b)
		return string(b[:max(n, 0)]), err
	}
	writes := func(after time.Duration) func(string) (string, error) { // as runc's does
		return func(fifo string) (string, error) {
			f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
			if err != nil {
				return "", err
			}
			time.Sleep(after)
			_, err = f.WriteString("0")
			return "0", errors.Join(err, f.Close())
		}
	}
	self, err := record.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const plain, hooked = `{"hooks":{"prestart":[]}}`, `{"hooks":{"poststart":[{"path":"/bin/true"}]}}`
	for _, tt := range []struct {
		name, program, spec string
		init                func(fifo string) (string, error)
		want                string // what is read or written; "" is that the runtime is run
	}{
		{"crun", "crun", plain, reads, "\x00"},
		{"runc", "runc", plain, writes(0), "0"},
		{"crun, a hook after the start", "crun", hooked, reads, ""},
		{"runc, a hook after the start", "runc", hooked, nil, ""},
		{"crun, init is dead", "crun", plain, nil, ""},
		{"runc, init is dead", "runc", plain, nil, ""},
		{"runc, init is slow", "runc", plain, writes(300 * time.Millisecond), "0"},
		{"another runtime", "other", plain, reads, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fifo, ran := filepath.Join(dir, "root", "x", fifoName), filepath.Join(dir, "ran")
			r := Runtime{Name: tt.name, Path: filepath.Join(dir, tt.program), Root: filepath.Join(dir, "root")}
			if err := errors.Join(
				os.MkdirAll(filepath.Dir(fifo), 0o700), unix.Mkfifo(fifo, 0o622),
				os.WriteFile(filepath.Join(dir, "config.json"), []byte(tt.spec), 0o600),
				harness.WriteExecutable(r.Path, "#!/bin/sh\necho \"$@\" >"+ran+"\n"),
			); err != nil {
				t.Fatal(err)
			}
			type said struct {
				text string
				err  error
			}
			var process record.Process
			init := make(chan said, 1)
			if tt.init != nil {
				process = self
				go func() {
					text, err := tt.init(fifo)
					init <- said{text, err}
				}()
				time.Sleep(20 * time.Millisecond)
			}
			if err := Release(t.Context(), r, "x", dir, process); err != nil {
				t.Fatal(err)
			}
			_, err := os.Stat(ran)
			if released := errors.Is(err, fs.ErrNotExist); released != (tt.want != "") {
				t.Errorf("the runtime was run: %v", !released)
			}
			if tt.want == "" {
				return
			}
			if got := <-init; got.err != nil || got.text != tt.want {
				t.Errorf("init's part is %q, %v, want %q", got.text, got.err, tt.want)
			}
			if _, err := os.Lstat(fifo); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the FIFO is there after the start: %v", err)
			}
			// the runtime says that it is started already
			if err := Release(t.Context(), r, "x", dir, process); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(ran); err != nil {
				t.Errorf("the second start does not ask the runtime: %v", err)
			}
		})
	}
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "crun"), nil, 0o755), os.Symlink("crun", filepath.Join(dir, "runc"))); err != nil {
		t.Fatal(err)
	}
	if isRunc(Runtime{Path: filepath.Join(dir, "runc")}) {
		t.Error("a link to crun is runc")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r := Runtime{Path: "/nonexistent/runc", Root: t.TempDir()}
	if err := Release(ended, r, "x", t.TempDir(), record.Process{}); err == nil {
		t.Error("started by nobody")
	}
}
