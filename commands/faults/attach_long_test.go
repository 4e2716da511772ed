//go:build faultslong

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Who attaches through the server and takes nothing, as a client that is stopped does, is
// let go after a minute, with all that its session holds; the container goes on.
func TestF44PeerNeverReads(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	dir := t.TempDir()
	c := s.containerConfig("c", `while :; do i=$((i+1)); echo $i >/go/on; printf '%04000d\n' 0; done`)
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/go", HostPath: dir}}
	id := s.container(pod, c)
	descriptors := func() int {
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := descriptors()
	for range 3 {
		s.attach(id, false)
	}
	time.Sleep(10 * time.Second)
	if now := descriptors(); now < before+3 {
		t.Errorf("%d descriptors with three clients, %d without any", now, before)
	}
	for deadline := time.Now().Add(100 * time.Second); descriptors() > before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors after clients that take nothing, %d before", descriptors(), before)
		}
	}
	was, err := os.ReadFile(filepath.Join(dir, "on"))
	if err != nil {
		t.Fatal(err)
	}
	n.eventually("the container goes on", func() bool {
		now, err := os.ReadFile(filepath.Join(dir, "on"))
		return err == nil && string(now) != string(was)
	})
	s.remove(pod)
	n.check()
}
