//go:build rootful

package criadapter_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// TestExitCommands: a server settles the ends of containers itself, and their exit
// commands do not run. Where it cannot, each runs once, and settles its container.
func TestExitCommands(t *testing.T) {
	r := newRig(t, "")
	spy := newExitSpy(t, r)
	still := func() error { return syscall.Kill(r.server.PID(), syscall.SIGSTOP) }
	goOn := func(t *testing.T) {
		if err := syscall.Kill(r.server.PID(), syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	killed := func(t *testing.T, _, id string) { kill(t, "sleep", id) }
	for _, tt := range []struct {
		name, script string
		away         func() error // if the server is meanwhile, until back
		end          func(t *testing.T, pod, id string)
		soon         bool // the next server comes at once
		back         func(*testing.T)
		want         int // how often the exit command runs
	}{
		{name: "itself", script: "read -t 0.3 x; exit 3", end: func(t *testing.T, _, id string) {
			if s := r.ended(t, id); s.ExitCode != 3 {
				t.Errorf("it ended with %d", s.ExitCode)
			}
		}},
		{name: "at once", script: "exit 3", end: func(*testing.T, string, string) {}},
		{name: "killed", end: killed},
		{name: "stopped", end: func(t *testing.T, _, id string) { r.stop(t, id, 0) }},
		{name: "removed", end: func(t *testing.T, _, id string) { r.remove(t, id) }},
		{name: "with its pod", end: func(t *testing.T, pod, _ string) {
			if _, err := r.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
				t.Error(err)
			}
		}},
		{name: "by the command line", end: func(t *testing.T, _, id string) {
			if out, err := r.davit.Run(t.Context(), "stop", "--force", "-t", "0", id); err != nil || out.Code != 0 {
				t.Errorf("davit stop: %v, %v", out, err)
			}
		}},
		{name: "server killed, next one", away: func() error { return r.server.Kill() }, end: killed, soon: true, back: spy.restart},
		{name: "server stands still", away: still, end: killed, back: goOn, want: 1},
		{name: "server told to end", away: func() error { return r.server.Stop() }, end: killed, back: spy.restart, want: 1},
		{name: "server killed", away: func() error { return r.server.Kill() }, end: killed, back: spy.restart, want: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.script == "" {
				tt.script = "exec sleep 1000"
			}
			name := strings.NewReplacer(" ", "-", ",", "").Replace(tt.name)
			pod := r.sandbox(t, r.podConfig(name))
			id := r.run(t, pod, r.containerConfig(name, tt.script))
			back := func() {}
			if tt.away != nil {
				back = sync.OnceFunc(func() { tt.back(t) })
				t.Cleanup(back) // before the pod is removed
				if err := tt.away(); err != nil {
					t.Fatal(err)
				}
			}
			tt.end(t, pod, id)
			if tt.soon {
				back()
			}
			for deadline := time.Now().Add(20 * time.Second); monitored(id); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the monitor stays")
				}
			}
			if got := spy.ran(t, id); got != tt.want {
				t.Errorf("its exit command ran %d times, want %d", got, tt.want)
			}
			if out, err := r.davit.Run(t.Context(), "system", "check"); err != nil || out.Code != 0 {
				t.Errorf("davit system check: %v\n%s%s", err, out.Stdout, out.Stderr)
			}
			back()
			if list := r.listed(t, &runtimeapi.ContainerFilter{Id: id}); tt.name != "removed" && len(list) == 1 {
				if s := r.status(t, id); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.Reason == "MonitorLost" {
					t.Errorf("it is %v", s)
				}
			}
		})
	}
}

// exitSpy sees the exit commands of containers that a server makes which it has started.
type exitSpy struct {
	r         *rig
	path, log string // of the program that the server runs as, and of what it is run for then
}

func newExitSpy(t *testing.T, r *rig) *exitSpy {
	t.Helper()
	s := &exitSpy{r: r, path: filepath.Join(r.davit.Roots.Dir, "davit"), log: filepath.Join(r.davit.Roots.Dir, "exited.log")}
	s.restart(t)
	return s
}

// restart kills the server, if there is one, and starts another.
func (s *exitSpy) restart(t *testing.T) {
	t.Helper()
	bin := s.r.davit.Bin
	if out, err := exec.Command("cp", "--remove-destination", bin, s.path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.r.davit.Bin = s.path
	s.r.restart(t)
	s.r.davit.Bin = bin
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\nexec %s \"$@\"\n", s.log, bin)
	err := harness.WriteExecutable(s.path+".new", script)
	if err == nil {
		err = os.Rename(s.path+".new", s.path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ran counts the exit commands of a container.
func (s *exitSpy) ran(t *testing.T, id string) int {
	t.Helper()
	data, err := os.ReadFile(s.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(data), " exited "+id)
}

// monitored says whether a container has a monitor, or what waits to be its exit command.
func monitored(id string) bool {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		args, _ := os.ReadFile(p)
		if name, rest, _ := strings.Cut(string(args), "\x00"); filepath.Base(name) == "conmon" && strings.Contains(rest, id) {
			return true
		}
	}
	return false
}
