//go:build faultslong

package faults

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A monitor that is stopped holds up who wants something of it, for a time, and
// nobody else.
func TestF10MonitorStopped(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	n.must("run", "-d", "--name", "cli", n.image, "sleep", "4710")
	n.must("run", "-d", "--name", "other", n.image, "sleep", "4710")
	id := s.container(pod, s.containerConfig("c", "exec sleep 4710"))
	other := s.container(pod, s.containerConfig("d", "exec sleep 4710"))
	for _, c := range []string{"cli", id} {
		_, monitor := n.pids(c)
		if err := unix.Kill(monitor, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	var held sync.WaitGroup
	held.Go(func() {
		n.within(20*time.Second, func() {
			if r := n.try("attach", "cli"); r.Code != 125 || !strings.Contains(r.Stderr, "takes no clients") {
				t.Errorf("attach: exit code %d\n%s", r.Code, r.Stderr)
			}
		})
	})
	held.Go(func() {
		c := s.attach(id, false)
		defer c.close()
		n.within(20*time.Second, func() {
			if _, st := c.rest(); !strings.Contains(st, "takes no clients") {
				t.Errorf("attach: %q", st)
			}
		})
	})
	held.Go(func() {
		log := n.Roots.Dir + "/logs/pod/c.log"
		if err := os.Rename(log, log+".1"); err != nil {
			t.Error(err)
		}
		n.within(20*time.Second, func() {
			if _, err := s.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err == nil {
				t.Error("a log was reopened by a monitor that is stopped")
			}
		})
	})
	// An exec has no need of the monitor.
	n.within(5*time.Second, func() { n.must("exec", "cli", "true") })
	n.within(5*time.Second, func() { n.must("exec", "-d", "cli", "true") })
	n.within(5*time.Second, func() {
		if _, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}}); err != nil {
			t.Error(err)
		}
	})
	n.within(3*time.Second, func() { n.must("ps", "-a") })
	n.within(3*time.Second, func() { n.must("stats", "--no-stream") })
	n.within(5*time.Second, func() { n.must("stop", "-t", "0", "other") })
	n.within(3*time.Second, func() {
		if out, err := s.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{}); err != nil || len(out.Containers) != 2 {
			t.Errorf("%v, %v", out, err)
		}
	})
	n.within(5*time.Second, func() {
		if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: other}); err != nil {
			t.Error(err)
		}
	})
	held.Wait()
	// The monitor is given a moment to write the end down, and is ended then.
	n.within(15*time.Second, func() { n.must("stop", "-t", "0", "cli") })
	if st := n.must("inspect", "--format", "{{.State.Status}} {{.State.Reason}}", "cli").Line(); st != "exited MonitorLost" {
		t.Errorf("after stop: %q", st)
	}
	n.within(15*time.Second, func() {
		if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
			t.Error(err)
		}
	})
	n.must("rm", "cli", "other")
	s.remove(pod)
	n.empty()
}
