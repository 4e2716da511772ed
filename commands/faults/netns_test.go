//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// The pinned network namespace of a pod is unmounted, or deleted, behind davit's
// back: DEL is called all the same, what was given out is free again, and the pod
// can be stopped and removed.
func TestF21PinnedNamespaceLost(t *testing.T) {
	n := newNode(t, "")
	if err := n.Roots.AddPodNetwork(71); err != nil {
		t.Fatal(err)
	}
	calls := n.recorder()
	s := n.serve()
	for _, how := range []string{"unmounted", "deleted"} {
		lose := func(id string) {
			t.Helper()
			pin := filepath.Join(n.Roots.RunRoot, "pods", id, "ns/net")
			if err := unix.Unmount(pin, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			if how == "deleted" {
				n.remove(pin)
			}
		}
		t.Run("kubelet's "+how, func(t *testing.T) {
			c := s.podConfig("pod-" + how)
			c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
			pod := s.sandbox(c)
			id := s.container(pod, s.containerConfig("c", "exec sleep 1000"))
			lose(pod)
			if found, code := n.findings(); code != 1 || len(found) != 1 || found[0].Kind != "namespace" {
				t.Errorf("system check: exit code %d, %+v", code, found)
			}
			if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
				t.Error(err)
			}
			s.remove(pod)
			if del := fmt.Sprintf("DEL %s\n", pod); !strings.Contains(calls(), del) {
				t.Errorf("DEL was not called:\n%s", calls())
			}
			if left := n.Roots.Leases(); len(left) > 0 {
				t.Errorf("addresses that are not free: %q", left)
			}
			n.check()
		})
		t.Run("kubelet's, empty, "+how, func(t *testing.T) { // from nobody's process can it be pinned again
			c := s.podConfig("empty-" + how)
			c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
			pod := s.sandbox(c)
			lose(pod)
			s.remove(pod)
			if del := fmt.Sprintf("DEL %s\n", pod); !strings.Contains(calls(), del) {
				t.Errorf("DEL was not called:\n%s", calls())
			}
			if left := n.Roots.Leases(); len(left) > 0 {
				t.Errorf("addresses that are not free: %q", left)
			}
			n.check()
		})
		t.Run("kubelet's, gone, "+how, func(t *testing.T) {
			c := s.podConfig("gone-" + how)
			pod := s.sandbox(c)
			ipc := filepath.Join(n.Roots.RunRoot, "pods", pod, "ns/ipc")
			if err := unix.Unmount(ipc, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			_, err := s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: s.containerConfig("c", "true")})
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "namespaces are gone: ipc") {
				t.Errorf("creating a container: %v", err)
			}
			now, err := s.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
			if err != nil || now.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
				t.Errorf("the sandbox is %v, %v", now.GetStatus().GetState(), err)
			}
			s.remove(pod)
			n.check()
		})
		t.Run("command line's "+how, func(t *testing.T) {
			c := n.sleeper("--name", "c", "-p", "127.0.0.1::80")
			lose(c.id)
			n.must("stop", "-t", "0", "c")
			n.must("start", "c")
			for range 3 {
				lose(c.id)
				n.must("kill", "c") // and with it the namespace is gone
				n.must("start", "c")
			}
			lose(c.id)
			n.must("rm", "-f", "-t", "0", "c")
			if left, err := filepath.Glob(filepath.Join(n.Roots.RunRoot, "networks/ipam/davit/10.*")); err != nil || len(left) > 0 {
				t.Errorf("addresses that are not free: %q, %v", left, err)
			}
			n.check()
		})
	}
	n.empty()
}

// recorder puts a plugin before the others of the pod network that notes how it was
// called; it returns what it noted.
func (n *node) recorder() (calls func() string) {
	n.t.Helper()
	dir := filepath.Join(n.Roots.Dir, "plugins")
	notes := filepath.Join(n.Roots.Dir, "calls")
	script := fmt.Sprintf("#!/bin/sh\necho \"$CNI_COMMAND $CNI_CONTAINERID\" >>%s\n"+
		"case $CNI_COMMAND in ADD) echo '{\"cniVersion\":\"1.0.0\",\"interfaces\":[],\"ips\":[]}' ;; esac\n", notes)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = harness.WriteExecutable(filepath.Join(dir, "recorder"), script)
	}
	if err == nil {
		err = n.Roots.Configure(fmt.Sprintf("plugin_dirs = [%q, \"/opt/cni/bin\", \"/usr/lib/cni\", \"/usr/libexec/cni\"]\n", dir))
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.edit(filepath.Join(n.Roots.Dir, "cni/10-pods.conflist"), `"plugins": [`, `"plugins": [{"type": "recorder"},`)
	return func() string {
		data, err := os.ReadFile(notes)
		if err != nil {
			n.t.Fatal(err)
		}
		return string(data)
	}
}
