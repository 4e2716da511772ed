//go:build faults

package faults

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A monitor that is killed is missed within two seconds. Its container lives on,
// and everything but its output goes on working; when it ends, its code is
// unknown.
func TestF9MonitorKilled(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	n.must("run", "-d", "--name", "cli", "-p", "127.0.0.1::80", n.image, "sleep", "4710")
	n.must("run", "-d", "--rm", "--name", "goes", n.image, "sleep", "4710")
	id := s.container(pod, s.containerConfig("c", "exec sleep 4710"))
	waiting := n.Command(t.Context(), "wait", "cli")
	var code bytes.Buffer
	waiting.Stdout = &code
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"cli", "goes", id} {
		_, monitor := n.pids(c)
		n.kill(strconv.Itoa(monitor))
	}
	n.within(2*time.Second, func() {
		if st := n.must("inspect", "--format", "{{.State.Status}} {{.State.Reason}}", "cli").Line(); st != "running MonitorLost" {
			t.Errorf("inspect says %q", st)
		}
		if ps := n.must("ps", "--filter", "name=cli", "--format", "{{.Status}}").Line(); !strings.HasPrefix(ps, "Up ") || !strings.HasSuffix(ps, "(monitor lost)") {
			t.Errorf("ps says %q", ps)
		}
		if st := s.status(id); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING || st.Reason != "MonitorLost" {
			t.Errorf("status says %s, %s", st.State, st.Reason)
		}
	})
	n.must("exec", "cli", "true")
	n.fails(125, "monitor is gone", "attach", "cli")
	if out, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}}); err != nil || out.ExitCode != 0 {
		t.Errorf("exec: %v, %v", out, err)
	}

	n.within(8*time.Second, func() { n.must("stop", "-t", "0", "cli", "goes") })
	if err := waiting.Wait(); err != nil || strings.TrimSpace(code.String()) != "-1" {
		t.Errorf("wait: %v, code %q", err, code.String())
	}
	if st := n.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.State.Reason}}", "cli").Line(); st != "exited -1 MonitorLost" {
		t.Errorf("after stop: %q", st)
	}
	n.must("start", "cli") // with another monitor
	n.must("rm", "-f", "-t", "0", "cli")
	if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
	if st := s.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.Reason != "MonitorLost" || st.ExitCode == 0 {
		t.Errorf("after stop: %s, %s, %d", st.State, st.Reason, st.ExitCode)
	}
	s.remove(pod)
	n.empty()
}

// A container whose monitor is killed and that ends by itself, as one that writes
// does, has ended for everybody within two seconds, and is settled by the server.
func TestF9ContainerEndsAfterItsMonitor(t *testing.T) {
	const writes = "while echo 4713; do sleep 0.05; done"
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	id := s.container(pod, s.containerConfig("c", writes))
	n.must("run", "-d", "--name", "cli", n.image, "sh", "-c", writes)
	n.must("run", "-d", "--rm", "--name", "goes", n.image, "sh", "-c", writes)
	began := time.Now()
	for _, c := range []string{"cli", "goes", id} {
		_, monitor := n.pids(c)
		n.kill(strconv.Itoa(monitor))
	}
	n.eventually("all have ended", func() bool {
		return s.status(id).State == runtimeapi.ContainerState_CONTAINER_EXITED && n.must("ps", "-q").Line() == ""
	})
	if took := time.Since(began); took > 4*time.Second { // the ends of three, one after the other
		t.Errorf("seen after %s", took)
	}
	if st := s.status(id); st.Reason != "MonitorLost" {
		t.Errorf("reason %s", st.Reason)
	}
	if st := n.must("inspect", "--format", "{{.State.Reason}}", "cli").Line(); st != "MonitorLost" {
		t.Errorf("reason %s", st)
	}
	n.eventually("the one that removes itself is gone", func() bool { return n.must("ps", "-aq", "--filter", "name=goes").Line() == "" })
	n.must("rm", "cli")
	s.remove(pod)
	n.empty()
}

// An infra container that ended when nobody could tell of it is missed by the pod's
// next start, which makes the pod anew.
func TestInfraEndedUnseen(t *testing.T) {
	n := newNode(t, "")
	n.must("pod", "create", "--name", "p", "--share", "net,ipc,pid")
	n.must("run", "-d", "--name", "c", "--pod", "p", n.image, "sleep", "4711")
	infra := n.must("pod", "inspect", "--format", "{{.InfraContainerID}}", "p").Line()
	init, monitor := n.pids(infra)
	n.kill(strconv.Itoa(monitor))
	n.kill(strconv.Itoa(init))
	n.must("pod", "start", "p")
	if now := n.must("pod", "inspect", "--format", "{{.InfraContainerID}}", "p").Line(); now == infra || now == "" {
		t.Errorf("the infra container is %q, after %q", now, infra)
	}
	n.must("exec", "c", "true")
	n.must("system", "check")
	n.must("pod", "rm", "-f", "-t", "0", "p")
	n.empty()
}
