//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stranger is a process that is none of davit's. It must be alive when the test
// ends.
func (n *node) stranger() *exec.Cmd {
	n.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(n.t.Context()), "sleep", "4720")
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if len(processes("sleep 4720")) == 0 {
			n.t.Error("a process that is none of davit's was killed")
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// strangerAs is a stranger with a pid that somebody else had.
func (n *node) strangerAs(pid int) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("pid %d is free", pid), func() bool { // its parent may take its time
		_, err := os.Lstat(fmt.Sprintf("/proc/%d", pid))
		return errors.Is(err, fs.ErrNotExist)
	})
	for range 200 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			n.t.Fatal(err)
		}
		cmd := exec.CommandContext(context.WithoutCancel(n.t.Context()), "sleep", "4720")
		if err := cmd.Start(); err != nil {
			n.t.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			n.t.Cleanup(func() {
				if err := cmd.Process.Kill(); err != nil {
					n.t.Errorf("the process that got the pid of a container's was killed: %v", err)
				}
				_ = cmd.Wait()
			})
			return
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	n.t.Fatalf("nobody gets pid %d", pid)
}

// A pid that the runtime hands over is checked to be one of the monitor's
// children: whatever else it is, a start fails, and nobody is killed who is none
// of the container's.
func TestF15PidFileLies(t *testing.T) {
	w := newWrapper(t)
	n := newNode(t, w.config())
	stranger := n.stranger()
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	n.must("create", "--name", "cli", n.image, "sleep", "4710")
	for name, pid := range map[string]string{
		"zero": "0", "garbage": "x", "empty": "", "init": "1", "self": strconv.Itoa(os.Getpid()), "stranger": strconv.Itoa(stranger.Process.Pid),
	} {
		w.tell("create", fmt.Sprintf("real \"$@\" || exit; echo '%s' >$pidfile; exit 0", pid))
		s.startFails(pod, "create-"+name, "process")
	}
	w.heal()
	n.must("start", "cli")
	id := s.container(pod, s.containerConfig("d", "exec sleep 4710"))
	other := strconv.Itoa(stranger.Process.Pid)
	for _, lie := range []struct{ pid, end string }{{"0", "exit 0"}, {"x", "exit 1"}, {"1", "exit 1"}, {other, "exit 0"}, {other, "exit 1"}, {other, "sleep 4711"}} {
		w.tell("exec", fmt.Sprintf("real \"$@\" || exit; echo '%s' >$pidfile; %s", lie.pid, lie.end))
		n.fails(125, "", "exec", "cli", "sleep", "0.1")
		n.fails(125, "", "exec", "-d", "cli", "sleep", "0.1")
		if _, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"sleep", "0.1"}, Timeout: 1}); err == nil {
			t.Errorf("an exec whose pid file says %q has succeeded", lie.pid)
		}
	}
	w.heal()
	n.must("rm", "-f", "-t", "0", "cli")
	s.remove(pod)
	n.empty()
}

// Somebody else has got the pid of a container whose process and monitor died
// together, as the record does not know yet. The container is stopped, its code
// unknown, and who has the pid now is left alone.
func TestF15PidReused(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	n.must("run", "-d", "--name", "cli", n.image, "sleep", "4710")
	pod := s.sandbox(s.podConfig("pod"))
	id := s.container(pod, s.containerConfig("c", "exec sleep 4710"))
	if err := s.Kill(); err != nil { // it would see the end at once
		t.Fatal(err)
	}
	for _, c := range []string{"cli", id} {
		process, monitor := n.pids(c)
		n.kill(strconv.Itoa(monitor))
		n.kill(strconv.Itoa(process))
		n.strangerAs(process)
		n.strangerAs(monitor)
	}
	s.start()
	if st := n.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.State.Reason}}", "cli").Line(); st != "exited -1 MonitorLost" {
		t.Errorf("inspect says %q", st)
	}
	if st := s.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.Reason != "MonitorLost" {
		t.Errorf("status says %s, %s", st.State, st.Reason)
	}
	n.fails(125, "not running", "exec", "cli", "true")
	n.fails(125, "not running", "kill", "cli")
	if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
	n.must("stop", "cli")
	n.must("start", "cli")
	n.must("rm", "-f", "-t", "0", "cli")
	s.remove(pod)
	n.empty()
}

// A status that says nothing, or nonsense, does not keep a container from being
// removed, whose processes are then found by what they are in.
func TestF15StatusGarbage(t *testing.T) {
	n := newNode(t, "")
	n.stranger()
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	for i, garbage := range []string{"", "{", "\x00\x00\x00\x00", `{"version":1,"status":{"pid":"x"}}`, `[]`} {
		name := fmt.Sprint("cli", i)
		id := n.must("run", "-d", "--name", name, n.image, "sleep", "4710").Line()
		other := s.container(pod, s.containerConfig(name, "exec sleep 4710"))
		for _, c := range []string{id, other} {
			if err := os.WriteFile(filepath.Join(n.Roots.RunRoot, "status", "containers", c+".json"), []byte(garbage), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.try("ps", "-a") // says which record it is
		n.must("rm", "-f", "-t", "0", id)
		if _, err := s.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: other}); err != nil {
			t.Errorf("with a status of %q: %v", garbage, err)
		}
		n.noProcess("sleep 4710")
	}
	s.remove(pod)
	n.empty()
}

// A container that is frozen, by davit or behind its back, is thawed and ends: by
// its stop signal where it minds it, else by SIGKILL.
func TestF16StopOfFrozen(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	const minds = "trap 'exit 7' TERM; while :; do sleep 0.05; done"
	for _, how := range []string{"paused", "frozen"} {
		freeze := func(id string) {
			if how == "paused" {
				n.must("pause", id)
			} else {
				n.freeze(id)
			}
		}
		for _, end := range []string{"stop", "kill", "rm"} {
			id := n.must("run", "-d", n.image, "sh", "-c", minds).Line()
			freeze(id)
			switch end {
			case "stop":
				n.must("stop", "-t", "10", id)
				if code := n.must("inspect", "--format", "{{.State.ExitCode}}", id).Line(); code != "7" {
					t.Errorf("%s: exit code %s, want 7", how, code)
				}
			case "kill":
				n.must("kill", id)
				if code := n.must("wait", id).Line(); code != "137" {
					t.Errorf("%s: exit code %s, want 137", how, code)
				}
			}
			n.must("rm", "-f", "-t", "0", id)
		}
		if how == "paused" {
			continue // a kubelet has no such thing
		}
		id := s.container(pod, s.containerConfig("c", minds))
		freeze(id)
		if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
			t.Error(err)
		}
		if st := s.status(id); st.ExitCode != 7 {
			t.Errorf("exit code %d, want 7", st.ExitCode)
		}
		freeze(s.container(pod, s.containerConfig("d", minds)))
	}
	s.remove(pod) // with a frozen one in it
	n.empty()
}

// freeze freezes a container's cgroup, as an administrator might.
func (n *node) freeze(container string) {
	n.t.Helper()
	process, _ := n.pids(container)
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", process))
	if err != nil {
		n.t.Fatal(err)
	}
	file, value := "", "FROZEN"
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case f[1] == "freezer":
			file = filepath.Join("/sys/fs/cgroup/freezer", f[2], "freezer.state")
		case f[0] == "0" && file == "":
			file, value = filepath.Join("/sys/fs/cgroup", f[2], "cgroup.freeze"), "1"
		}
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		n.t.Fatal(err)
	}
}
