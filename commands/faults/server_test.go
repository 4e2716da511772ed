//go:build faults || faultslong

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// A container exits while nothing of davit can run, not even its monitor's exit
// command: who looks next finds its code, and when that was.
func TestF6ExitsUnseen(t *testing.T) {
	n := newNode(t, "")
	real, own := n.Bin, filepath.Join(n.Roots.Dir, "davit-own")
	if err := exec.Command("cp", real, own).Run(); err != nil { // the exit command's path is this one's
		t.Fatal(err)
	}
	n.Bin = own
	for name, x := range map[string]struct {
		code string
		args []string
	}{
		"code":   {"42", []string{"sh", "-c", "read x </go; exit 42"}},
		"signal": {"137", []string{"sh", "-c", "read x </go; exec sleep 1000"}},
		"zero":   {"0", []string{"sh", "-c", "read x </go"}},
	} {
		go_ := filepath.Join(n.Roots.Dir, "go-"+name)
		if err := syscall.Mkfifo(go_, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"run", "-d", "--name", name, "-v", go_ + ":/go", n.image}
		n.must(append(args, x.args...)...)
		pid := n.must("inspect", "--format", "{{.State.Pid}}", name).Line()
		monitor := n.must("inspect", "--format", "{{.State.ConmonPid}}", name).Line()
		if err := os.Rename(own, own+".away"); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if err := os.WriteFile(go_, []byte("go\n"), 0); err != nil {
			t.Fatal(err)
		}
		if name == "signal" { // its first process does not die by its own
			n.kill(pid)
		}
		for _, p := range []string{pid, monitor} {
			n.eventually("process "+p+" is gone", func() bool { return !alive(p) })
		}
		after := time.Now()
		if err := os.Rename(own+".away", own); err != nil {
			t.Fatal(err)
		}
		got := n.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{json .State.FinishedAt}}", name).Line()
		f := strings.Fields(got)
		at, err := time.Parse(time.RFC3339Nano, strings.Trim(f[len(f)-1], `"`))
		if err != nil || f[0] != "exited" || f[1] != x.code || at.Before(before.Add(-time.Second)) || at.After(after) {
			t.Errorf("%s: %s, want exited with %s between %s and %s (%v)", name, got, x.code, before, after, err)
		}
		if got := n.must("wait", name).Line(); got != x.code {
			t.Errorf("wait says %s, want %s", got, x.code)
		}
	}
	n.empty()
	n.Bin = real
}

// alive says whether a process is there and no zombie.
func alive(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return f[0] != "Z" && f[0] != "X"
}

// pids are a container's process and its monitor, as inspect says.
func (n *node) pids(container string) (process, monitor int) {
	n.t.Helper()
	line := n.must("inspect", "--format", "{{.State.Pid}} {{.State.ConmonPid}}", container).Line()
	if _, err := fmt.Sscan(line, &process, &monitor); err != nil || process < 2 || monitor < 2 {
		n.t.Fatalf("pids %q, %v", line, err)
	}
	return process, monitor
}

// kill kills a process by a number that davit printed.
func (n *node) kill(pid string) {
	n.t.Helper()
	p, err := strconv.Atoi(pid)
	if err == nil && p <= 1 {
		err = fmt.Errorf("process %q", pid)
	}
	if err == nil {
		err = unix.Kill(p, unix.SIGKILL)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.eventually("process "+pid+" is gone", func() bool { return !alive(pid) })
}

// The server and a container's monitor are killed; the container lives on, and dies
// later: it has stopped, with a code that nobody knows, and both faces say so.
func TestF11MonitorAndServerKilled(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("alone"))
	id := s.container(pod, s.containerConfig("c", "exec sleep 1000"))
	state := func(field string) string { return n.must("inspect", "--format", "{{.State."+field+"}}", id).Line() }
	pid, monitor := state("Pid"), state("ConmonPid")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	n.kill(monitor)
	if got := state("Status"); got != "running" || !alive(pid) {
		t.Errorf("the container without a monitor is %s, alive: %t", got, alive(pid))
	}
	n.kill(pid)
	s.start()
	c := s.status(id)
	if c.State != runtimeapi.ContainerState_CONTAINER_EXITED || c.Reason != "MonitorLost" || c.ExitCode == 0 || !strings.Contains(c.Message, "exit code") {
		t.Errorf("the CRI says %v", c)
	}
	if got := state("Status"); got != "exited" {
		t.Errorf("the container is %s", got)
	}
	out := n.must("inspect", id).Stdout
	if !strings.Contains(out, "MonitorLost") {
		t.Errorf("inspect does not tell why:\n%s", out)
	}
	s.remove(pod)
}

// The server is killed by the kernel because its control group has no memory left: the
// containers live on, also one that was started in there, with its monitor, and a
// server that starts again knows all.
func TestF40ServerOutOfMemory(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("lives"))
	id := s.container(pod, s.containerConfig("c", counting))
	c := n.newCgroup("memory")
	c.add(s.PID())
	beside := s.container(pod, s.containerConfig("beside", "exec sleep 1000"))
	before := s.status(id)
	lives := longLived{id: id, log: filepath.Join(s.podConfig("lives").LogDirectory, "c.log")}
	st := &storm{server: s}
	c.memory(c.used() + 8<<20)
	var calls sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 8 {
		calls.Go(func() { // big requests, of which many are held at a time
			big := strings.Repeat("x", 3<<20)
			for ctx.Err() == nil {
				_, _ = s.Version(ctx, &runtimeapi.VersionRequest{Version: big})
			}
		})
	}
	err := s.Ended(ctx)
	cancel()
	calls.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the server has ended with %v", err)
	}
	was := len(st.numbers(&lives))
	n.eventually("the log goes on", func() bool { return len(st.numbers(&lives)) > was+2 })
	s.start()
	if after := s.status(id); after.State != runtimeapi.ContainerState_CONTAINER_RUNNING || after.StartedAt != before.StartedAt {
		t.Errorf("the container is %v", after)
	}
	if c := s.status(beside); c.State != runtimeapi.ContainerState_CONTAINER_RUNNING || c.Reason != "" {
		t.Errorf("the container beside the server is %v", c)
	}
	st.unbroken(&lives)
	s.remove(pod)
}

// No inotify instance is to be had: the server hears of exits by pidfd, and the rest
// looks every now and then.
func TestF36NoInotify(t *testing.T) {
	n := newNode(t, "")
	again := n.under(n.denied(unix.SYS_INOTIFY_INIT1, unix.EMFILE))
	s := n.serve()
	pod := s.sandbox(s.podConfig("blind"))
	id := s.container(pod, s.containerConfig("ends", "read -t 0.5 x; exit 7"))
	stays := s.container(pod, s.containerConfig("stays", "exec sleep 1000"))
	n.eventually("the exit is seen", func() bool {
		c := s.status(id)
		return c.State == runtimeapi.ContainerState_CONTAINER_EXITED && c.ExitCode == 7
	})
	// Another process' doing is seen, too.
	again()
	n.must("stop", "--force", "-t", "0", stays)
	n.eventually("a stop by the command line is seen", func() bool {
		return s.status(stays).State == runtimeapi.ContainerState_CONTAINER_EXITED
	})
	n.under(n.denied(unix.SYS_INOTIFY_INIT1, unix.EMFILE))
	other, err := harness.Layered(harness.LayersConfig{Layers: 4, Files: 20, FileBytes: 20_000, Seed: 36})
	if err == nil {
		err = n.registry.Push(t.Context(), "other:1", other)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.must("pull", "-q", n.registry.Ref("other:1"))
	if got := n.must("run", "--rm", n.image, "sh", "-c", "echo out; exit 0").Line(); got != "out" {
		t.Errorf("a run prints %q", got)
	}
	n.must("run", "-d", "--name", "late", n.image, "sh", "-c", "echo 1; read -t 0.7 x; echo 2; exit 9")
	if got := n.must("logs", "-f", "late").Stdout; got != "1\n2\n" {
		t.Errorf("logs --follow prints %q", got)
	}
	if got := n.must("wait", "late").Line(); got != "9" {
		t.Errorf("wait says %q", got)
	}
	n.must("run", "-d", "--name", "stopped", n.image, "sleep", "1000")
	n.must("stop", "-t", "0", "stopped")
	s.remove(pod)
	n.empty()
	again()
}
