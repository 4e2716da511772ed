//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// badRuntimes are paths of runtimes that cannot be run.
func badRuntimes(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	bad := map[string]string{
		"missing": filepath.Join(dir, "missing"), "denied": filepath.Join(dir, "denied"),
		"garbage": filepath.Join(dir, "garbage"), "folder": filepath.Join(dir, "folder"),
		"orphan": filepath.Join(dir, "orphan"), // its interpreter is not there
	}
	err := errors.Join(
		os.WriteFile(bad["denied"], []byte("#!/bin/sh\n"), 0o644),
		harness.WriteExecutable(bad["garbage"], "\x01\x02\x03"),
		harness.WriteExecutable(bad["orphan"], "#!/nonexistent\n"),
		os.Mkdir(bad["folder"], 0o755),
	)
	if err != nil {
		t.Fatal(err)
	}
	return bad
}

// A runtime that cannot be run is named by its path, on the command line as to a
// kubelet, and what was made for the container is taken back: its network, too.
func TestF12RuntimeCannotRun(t *testing.T) {
	bad := badRuntimes(t)
	extra := ""
	for name, path := range bad {
		extra += fmt.Sprintf("[runtimes.%s]\npath = %q\n", name, path)
	}
	n := newNode(t, extra)
	if err := n.Roots.AddPodNetwork(201); err != nil {
		t.Fatal(err)
	}
	s := n.serve()
	for name, path := range bad {
		n.fails(125, path, "--runtime", path, "run", "--rm", "-p", "127.0.0.1::80", n.image, "true")
		n.must("--runtime", path, "create", "--name", "kept", "-p", "127.0.0.1::80", n.image, "true")
		n.fails(125, path, "--runtime", path, "start", "kept")
		n.must("rm", "kept")

		c := s.podConfig(name)
		c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
		pod, err := s.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: c, RuntimeHandler: name})
		var made *runtimeapi.CreateContainerResponse
		if err == nil { // it can be seen only when it is run
			made, err = s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod.PodSandboxId, Config: s.containerConfig("c", "true")})
		}
		if err == nil {
			_, err = s.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId})
		}
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v does not name %s", name, err, path)
		}
		if pod != nil {
			s.remove(pod.PodSandboxId)
		}
	}
	if leases := n.Roots.Leases(); len(leases) != 0 {
		t.Errorf("addresses are taken: %v", leases)
	}
	n.empty()
}

// A container whose runtime has gone can be stopped and removed without it, and with
// all its processes, where no PID namespace of its own ends them.
func TestF12RuntimeGoes(t *testing.T) {
	w := newWrapper(t)
	n := newNode(t, w.config())
	s := n.serve()
	n.must("run", "-d", "--name", "cli", "--pid", "host", n.image, "sh", "-c", "setsid sleep 4714 & exec sleep 1000")
	n.eventually("it has two processes", func() bool { return len(processes("sleep 4714")) == 1 })
	pod := s.sandbox(s.podConfig("pod"))
	id := s.container(pod, s.containerConfig("c", "exec sleep 1000"))
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	n.fails(125, w.path, "exec", "cli", "true")
	n.must("stop", "-t", "0", "cli")
	n.noProcess("sleep 4714")
	n.fails(125, w.path, "start", "cli")
	n.must("rm", "cli")
	if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
	if st := s.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 137 {
		t.Errorf("%s with code %d, want an exit with 137", st.State, st.ExitCode)
	}
	s.remove(pod)
	n.empty()
}

// startFails starts a container on the command line, and one of the kubelet's,
// which both fail and say so.
func (s *server) startFails(pod, name, says string) {
	s.n.t.Helper()
	failed := make(chan error, 1)
	go func() {
		made, err := s.CreateContainer(s.n.t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: s.containerConfig(name, "exec sleep 4710")})
		if err == nil {
			_, err = s.StartContainer(s.n.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId})
		}
		failed <- err
	}()
	s.n.fails(125, says, "start", "cli")
	if err := <-failed; err == nil || !strings.Contains(err.Error(), says) {
		s.n.t.Errorf("%s: %v does not say %q", name, err, says)
	}
	s.n.noProcess("sleep 4710")
	s.n.noProcess("sleep 4711")
}

// A runtime that hangs is killed with what it has started, at its deadline, and
// what it was to do is undone or can be repeated.
func TestF13RuntimeHangs(t *testing.T) {
	w := newWrapper(t)
	n := newNode(t, w.config())
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	n.must("create", "--name", "cli", "-p", "127.0.0.1::80", n.image, "sleep", "4710")
	for _, verb := range []string{"create", "start"} {
		for name, script := range map[string]string{"whole": hangs, "half": halfHangs} {
			w.tell(verb, script)
			n.within(15*time.Second, func() { s.startFails(pod, verb+"-"+name, "killed") })
		}
		w.heal()
	}
	n.must("start", "cli")
	id := s.container(pod, s.containerConfig("d", "exec sleep 4710"))
	w.tell("exec", hangs)
	n.within(8*time.Second, func() { n.fails(125, "killed", "exec", "cli", "true") })
	n.within(8*time.Second, func() {
		_, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}, Timeout: 30})
		if status.Code(err) != codes.DeadlineExceeded || strings.Contains(err.Error(), "30s") {
			t.Errorf("exec: %v", err)
		}
	})
	// What ends a process needs no runtime; the rest stays on record.
	w.tell("delete", hangs)
	n.within(8*time.Second, func() { n.fails(125, "killed", "stop", "-t", "0", "cli") })
	n.within(8*time.Second, func() {
		_, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id})
		if err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("stop: %v", err)
		}
	})
	n.noProcess("sleep 4710")
	n.noProcess("sleep 4711")
	n.within(8*time.Second, func() { n.fails(125, "killed", "rm", "cli") })
	w.heal()
	n.must("rm", "--ignore", "cli") // it may be done before it is looked for
	s.remove(pod)
	n.empty()
}

// A runtime that does what it is told and then fails has its work taken back.
func TestF14RuntimeFailsAfterItsWork(t *testing.T) {
	w := newWrapper(t)
	n := newNode(t, w.config())
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	n.must("create", "--name", "cli", "-p", "127.0.0.1::80", n.image, "sleep", "4710")
	for _, verb := range []string{"create", "start"} {
		w.tell(verb, unlucky)
		s.startFails(pod, verb, "no luck")
		w.heal()
	}
	n.must("start", "cli")
	w.tell("exec", unlucky)
	n.fails(125, "no luck", "exec", "cli", "sleep", "4712")
	n.fails(125, "no reason", "exec", "-d", "cli", "sleep", "4712")
	n.noProcess("sleep 4712")
	w.tell("pause", unlucky)
	n.fails(125, "no luck", "pause", "cli")
	if st := n.must("ps", "--format", "{{.State}}").Line(); st != "running" {
		t.Errorf("after a pause that failed: %q", st)
	}
	w.heal()
	n.must("exec", "cli", "true") // which a frozen one could not
	w.tell("delete", unlucky)
	n.fails(125, "no luck", "stop", "-t", "0", "cli")
	w.heal()
	n.must("rm", "cli")
	s.remove(pod)
	n.empty()
}

// dies is a runtime that is killed when the container's init waits to be started and
// is not on its record yet: the init, which nobody tells to end, holds its stderr.
const dies = `real "$@"; for id; do :; done; rm "$2/$id/state.json" "$pidfile"; kill -9 $$`

// A runtime that is killed while it makes a container is not waited for, even though
// what it leaves behind keeps the monitor from saying so; and that is ended, too.
func TestF14RuntimeIsKilled(t *testing.T) {
	w := newWrapper(t)
	n := newNode(t, fmt.Sprintf("[engine]\nruntime = %q\n", w.path))
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	c := s.podConfig("shared")
	c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	shared := s.sandbox(c)
	w.tell("create", dies)
	n.must("create", "--name", "cli", "-p", "127.0.0.1::80", n.image, "sleep", "4710")
	n.within(8*time.Second, func() { s.startFails(pod, "create", "has died") })
	n.check() // the runtime knows nothing of the cgroup that it made
	n.within(8*time.Second, func() { s.startFails(shared, "create", "has died") })
	n.within(5*time.Second, func() { s.remove(shared) }) // its PID namespace ends: what was killed in there is reaped
	n.must("rm", "cli")
	n.must("create", "--name", "cli", "-t", n.image, "sleep", "4710")
	n.within(8*time.Second, func() { n.fails(125, "no reason", "start", "cli") }) // its stderr is not read
	n.must("rm", "cli")
	n.noProcess("runc init")
	w.heal()
	n.must("create", "--name", "cli", n.image, "sleep", "4710")
	w.tell("start", "kill -9 $$")
	n.within(8*time.Second, func() { s.startFails(pod, "start", "signal: killed") })
	n.noProcess("runc init")
	w.heal()
	n.must("start", "cli")
	s.remove(pod)
	n.must("rm", "-f", "-t", "0", "cli")
	n.empty()
}

// An exec whose container ends, or is started anew, before the runtime has looked at
// it says that, and not what the runtime then missed.
func TestF43ExecOvertaken(t *testing.T) {
	w := newWrapper(t)
	n := newNode(t, w.config())
	n.must("run", "-d", "--name", "c", n.image, "sleep", "4710")
	process, _ := n.pids("c")
	ends := fmt.Sprintf("kill -9 %d; while [ -d /proc/%[1]d ]; do sleep 0.01; done\n", process)
	w.tell("exec", ends)
	n.fails(125, `container "c" is \w+, not running`, "exec", "c", "true")
	n.must("start", "c")
	process, _ = n.pids("c")
	again := n.Command(t.Context(), "restart", "-t", "0", "c")
	w.tell("exec", fmt.Sprintf("%s >/dev/null || exit 3\necho 'lstat /proc/%d/ns/ipc: no such file or directory' >&2; exit 1\n", strings.Join(again.Args, " "), process))
	n.fails(125, `container "c" was restarted meanwhile`, "exec", "c", "true")
	w.heal()
	n.must("exec", "c", "true")
	n.empty()
}
