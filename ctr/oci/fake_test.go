package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/commands/harness"
)

// script makes a runtime of a shell script.
func script(t *testing.T, body string) Runtime {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rt")
	if err := harness.WriteExecutable(path, "#!/bin/sh\n"+body); err != nil {
		t.Fatal(err)
	}
	return Runtime{Name: "fake", Path: path}
}

func TestCheckNamesTheBinary(t *testing.T) {
	dir := t.TempDir()
	noX := filepath.Join(dir, "no-x")
	garbage := filepath.Join(dir, "garbage")
	if err := errors.Join(os.WriteFile(noX, nil, 0o644), harness.WriteExecutable(garbage, "\x01\x02\x03")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		is   func(error) bool
	}{
		{filepath.Join(dir, "none"), errdefs.IsNotFound},
		{"davit-no-such-runtime", errdefs.IsNotFound},
		{noX, errdefs.IsPermissionDenied},
		{dir, errdefs.IsPermissionDenied},
	} {
		err := Runtime{Path: tt.path}.Check()
		if err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("Check(%q) = %v", tt.path, err)
		}
		if err := (Runtime{Path: tt.path}).Start(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("Start by %q = %v", tt.path, err)
		}
	}
	if err := (Runtime{Path: garbage}).Check(); err != nil {
		t.Errorf("Check(garbage) = %v", err)
	}
	err := Runtime{Path: garbage}.Start(t.Context(), "x")
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), garbage) {
		t.Errorf("Start by garbage = %v", err)
	}
}

func TestArguments(t *testing.T) {
	out := filepath.Join(t.TempDir(), "args")
	r := script(t, `for a in "$@"; do echo "$a" >>`+out+`; done; echo . >>`+out+`; cat >>`+out+"\n")
	r.Root, r.SystemdCgroup, r.ExtraArgs = "/r", true, []string{"--extra"}
	ctx := t.Context()
	limit := int64(5)
	for _, err := range []error{
		r.Start(ctx, "a"), r.Delete(ctx, "a", false), r.Delete(ctx, "a", true), r.Kill(ctx, "a", syscall.SIGTERM, true),
		r.Pause(ctx, "a"), r.Resume(ctx, "a"), r.Update(ctx, "a", &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	global := "--root\n/r\n--systemd-cgroup\n--extra\n"
	want := ""
	for _, c := range []string{"start a", "delete a", "delete --force a", "kill --all a 15", "pause a", "resume a", "update --resources - a"} {
		want += global + strings.ReplaceAll(c, " ", "\n") + "\n.\n"
	}
	want += `{"pids":{"limit":5}}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Error(diff)
	}
}

// A runtime that hangs is killed with what it started.
func TestDeadlineKillsTheGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	r := script(t, "echo about to hang >&2; sleep 1000 & echo $! >"+file+"; wait")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := r.Start(ctx, "x")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
		t.Errorf("Start = %v after %v", err, time.Since(began))
	}
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "about to hang") {
		t.Errorf("%v does not tell its last words", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	for deadline := time.Now().Add(5 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("its child %d lives", pid)
		}
	}
}

func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := cutLast(string(data), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// A child that keeps the runtime's pipes does not hold it up.
func TestStrayChildHoldsNoPipe(t *testing.T) {
	r := script(t, "sleep 3 & echo nothing; exit 0")
	began := time.Now()
	if err := r.Start(t.Context(), "x"); err != nil || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestOutputIsBounded(t *testing.T) {
	r := script(t, "yes no no no | head -c 50000000 >&2; echo >&2; echo the reason >&2; exit 3")
	err := r.Start(t.Context(), "x")
	var e *Error
	if !errors.As(err, &e) || len(e.Raw) > maxOutput || e.Message != "the reason" {
		t.Errorf("got %.200v", err)
	}
	if _, err := script(t, "yes | head -c 50000000").State(t.Context(), "x"); err == nil || len(err.Error()) > 300 {
		t.Errorf("State = %.200v", err)
	}
}

func TestState(t *testing.T) {
	got, err := script(t, `echo '{"ociVersion":"1.0.2","id":"a","pid":7,"status":"running","bundle":"/b"}'`).State(t.Context(), "a")
	if diff := cmp.Diff(State{ID: "a", Pid: 7, Status: "running", Bundle: "/b"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := script(t, "echo garbage").State(t.Context(), "a"); err == nil {
		t.Error("garbage was taken")
	}
}

// Faults of the runtime during exec.
func TestExecFaults(t *testing.T) {
	tests := []struct {
		name, body string
		is         func(error) bool
	}{
		{"fails", "echo 'exec: \"x\": executable file not found in $PATH' >&2; exit 1", func(err error) bool {
			var ee *ExecutableError
			return errors.As(err, &ee) && ee.Code == 127 && ee.Name == "x"
		}},
		{"no pid file", "exit 0", func(err error) bool { return err != nil }},
		{"pid file of 0", pidFile("0"), errdefs.IsUnavailable},
		{"pid file of 1", pidFile("1"), errdefs.IsUnavailable},
		{"pid file of garbage", pidFile("x"), errdefs.IsUnavailable},
		{"hangs", "sleep 1000", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{"silent", "exit 1", func(err error) bool { return strings.Contains(err.Error(), "gave no reason") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			dir := t.TempDir()
			code, err := script(t, tt.body).Exec(ctx, ExecConfig{ID: "c", Dir: dir, Process: &specs.Process{Args: []string{"x"}}})
			if code != -1 || err == nil || !tt.is(err) {
				t.Errorf("Exec = %d, %v", code, err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

// pidFile is a runtime that writes a pid file and leaves.
func pidFile(content string) string {
	return `while [ $# -gt 0 ]; do [ "$1" = --pid-file ] && echo ` + content + ` >"$2"; shift; done`
}
