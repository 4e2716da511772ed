//go:build faults

package faults

import (
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What commands acknowledged is there after a loss of power right after them, and
// works; what the power cut short is there whole, or not at all.
func TestF31PowerLossAfterCommands(t *testing.T) {
	disk, prepare := newDisk(t, 128)
	n := newNodeOn(t, prepare, "")
	loss := func() {
		t.Helper()
		n.powerLoss(disk())
		n.try("rm", "nobody") // a command that changes something settles what it finds
		n.check()
	}

	n.must("create", "--name", "made", "--network", "none", n.image, "true")
	loss()
	n.must("rename", "made", "renamed")
	loss()
	n.must("pod", "create", "--name", "shop", "--network", "none")
	loss()
	n.must("volume", "create", "data")
	loss()
	n.must("network", "create", "net")
	loss()
	n.must("tag", n.image, "localhost/tagged:1")
	loss()
	if got := n.must("ps", "--all", "--format", "{{.Names}} {{.State}}").Line(); got != "renamed created" {
		t.Errorf("containers: %q", got)
	}
	n.must("pod", "exists", "shop")
	n.must("volume", "exists", "data")
	n.must("network", "exists", "net")
	n.must("image", "exists", "localhost/tagged:1")
	n.must("start", "renamed")
	if code := n.must("wait", "renamed").Line(); code != "0" {
		t.Errorf("it exited with %s", code)
	}
	n.must("create", "--name", "made", "--network", "none", n.image, "true") // the name is free

	n.must("run", "--name", "ran", "--network", "none", n.image, "true")
	loss()
	if got := n.must("ps", "--all", "--filter", "name=ran", "--format", "{{.State}}").Line(); got != "exited" {
		t.Errorf("a container that ran is %q", got)
	}

	for i := range 4 { // during a create, which is not the first of its boot
		n.must("run", "--rm", "--network", "none", n.image, "true")
		started := n.Command(t.Context(), "create", "--name", "cut", "--network", "none", n.image, "true")
		if err := started.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+15*i) * time.Millisecond)
		n.powerLoss(disk(), started.Process)
		_ = started.Wait()
		n.try("rm", "nobody")
		n.check()

		whole := strings.Contains(n.must("ps", "--all", "--format", "{{.Names}}").Stdout, "cut\n")
		if whole {
			n.must("start", "cut")
			n.must("wait", "cut")
		} else {
			n.must("create", "--name", "cut", "--network", "none", n.image, "true")
		}
		n.must("rm", "--force", "cut")
	}
	n.must("rmi", "localhost/tagged:1")
	loss()
	n.fails(1, "", "image", "exists", "localhost/tagged:1")
	n.must("rm", "--force", "--all")
	n.must("pod", "rm", "--force", "--all")
	n.must("network", "rm", "net")
	n.must("volume", "rm", "data")
}

// A server that comes up after a loss of power lists what it acknowledged.
func TestF31PowerLossOfServer(t *testing.T) {
	disk, prepare := newDisk(t, 128)
	n := newNodeOn(t, prepare, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("kept"))
	if err := disk().CutPower(); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := disk().PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Roots.NewBoot(); err != nil {
		t.Fatal(err)
	}
	s.start()
	list, err := s.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Id != pod || list.Items[0].State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("sandboxes: %v, %v", list, err)
	}
	s.remove(pod)
}
