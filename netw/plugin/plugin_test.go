package plugin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// script makes an executable and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fake")
	if err := harness.WriteExecutable(path, "#!/bin/sh\n"+text); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExecPlugin(t *testing.T) {
	tests := []struct {
		name, script string
		want         string
		wantErr      error
		wantText     string
	}{
		{name: "output", script: "cat; echo noise >&2", want: "in"},
		{name: "error on stdout", script: `echo '{"code":11,"msg":"later","details":"much"}'; exit 1`, wantErr: errdefs.ErrUnavailable, wantText: "CNI plugin fake ADD: later: much"},
		{name: "error on stderr", script: "echo broken >&2; exit 3", wantErr: errdefs.ErrUnknown, wantText: "broken (exit status 3)"},
		{name: "no words", script: "exit 3", wantErr: errdefs.ErrUnknown, wantText: "exit status 3"},
		{name: "range full", script: `echo '{"code":999,"msg":"failed to allocate for range 0: no IP addresses available in range set: a-b"}'; exit 1`, wantErr: errdefs.ErrResourceExhausted},
		{name: "too much output", script: "exec head -c 100000000 /dev/zero", wantErr: errdefs.ErrResourceExhausted, wantText: "wrote more than"},
		{name: "too much on stderr", script: "head -c 1000000 /dev/zero >&2; printf ok", want: "ok"},
		{name: "hangs", script: "sleep 100", wantErr: context.DeadlineExceeded, wantText: "did not finish within 1s"},
		{name: "leaves a child", script: "sleep 2 & printf done", want: "done"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &Exec{Timeout: time.Second}
			begin := time.Now()
			got, err := e.ExecPlugin(t.Context(), script(t, tt.script), []byte("in"), []string{"CNI_COMMAND=ADD", "PATH=" + os.Getenv("PATH")})
			if time.Since(begin) > 5*time.Second {
				t.Errorf("took %s", time.Since(begin))
			}
			if string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if (err != nil) != (tt.wantErr != nil) {
				t.Fatalf("error %v, want %v", err, tt.wantErr)
			}
			if err == nil {
				return
			}
			var perr *Error
			if !errors.As(err, &perr) || perr.Command != "ADD" || perr.Plugin != "fake" {
				t.Errorf("%#v", err)
			}
			if tt.wantErr != errdefs.ErrUnknown && !errors.Is(err, tt.wantErr) {
				t.Errorf("%v is no %v", err, tt.wantErr)
			}
			if !strings.Contains(err.Error(), tt.wantText) {
				t.Errorf("%v does not say %q", err, tt.wantText)
			}
		})
	}
}

func TestKillsTheGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	e := &Exec{Timeout: 500 * time.Millisecond}
	_, err := e.ExecPlugin(t.Context(), script(t, "sleep 100 & echo $! > "+pidFile+"; wait"), nil, []string{"PATH=" + os.Getenv("PATH")})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if unix.Kill(pid, 0) != nil {
			return
		}
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if strings.Contains(string(stat), ") Z ") {
			return // dead, waiting for whoever inherited it
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the plugin's child %d lives on", pid)
}

func TestFindInPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bridge"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	e := &Exec{}
	if got, err := e.FindInPath("bridge", []string{"/nonexistent", dir}); err != nil || got != filepath.Join(dir, "bridge") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := e.FindInPath("absent", []string{dir}); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent plugin: %v", err)
	}
	for _, bad := range []string{"", ".", "..", "../bridge", "a/b", "a\nb", "a b", "a\x00"} {
		if _, err := e.FindInPath(bad, []string{dir}); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// stalled is a writer that stands still at first, as all of a process does on a machine
// that is too busy.
type stalled struct {
	text bytes.Buffer
	once sync.Once
}

func (w *stalled) Write(p []byte) (int, error) {
	w.once.Do(func() { time.Sleep(drainDelay + 300*time.Millisecond) })
	return w.text.Write(p)
}

// What a plugin has written is there once it has ended, however long it takes to read
// that, and whoever holds its pipes then.
func TestSlowReader(t *testing.T) {
	for _, text := range []string{"printf a; sleep 0.1; printf b", "sleep 3 & printf a; sleep 0.1; printf b"} {
		out := &stalled{}
		if err := run(t.Context(), script(t, text), os.Environ(), streams{strings.NewReader(""), out, io.Discard}); err != nil || out.text.String() != "ab" {
			t.Errorf("%q prints %q, %v", text, out.text.String(), err)
		}
	}
}
