//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// network is the plugin bridge of the network of pods, that does but for the faults
// that it is told.
type network struct {
	n   *node
	dir string
}

// newNetwork puts it before the true plugins, and makes a network for pods.
func (n *node) newNetwork(subnet int) *network {
	n.t.Helper()
	w := &network{n: n, dir: filepath.Join(n.Roots.Dir, "plugins")}
	script := fmt.Sprintf(`#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID" >>%[1]s/calls
[ ! -e %[1]s/$CNI_COMMAND ] || . %[1]s/$CNI_COMMAND
for d in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do [ ! -x $d/bridge ] || exec $d/bridge; done
`, w.dir)
	err := errors.Join(
		os.Mkdir(w.dir, 0o755), harness.WriteExecutable(filepath.Join(w.dir, "bridge"), script),
		n.Roots.AddPodNetwork(subnet),
		n.Roots.Configure(fmt.Sprintf("plugin_timeout = 2\nplugin_dirs = [%q, \"/opt/cni/bin\", \"/usr/lib/cni\", \"/usr/libexec/cni\"]\n", w.dir)),
	)
	if err != nil {
		n.t.Fatal(err)
	}
	return w
}

// tell puts a piece of shell before each run of a command.
func (w *network) tell(command, script string) {
	w.n.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, command), []byte(script+"\n"), 0o644); err != nil {
		w.n.t.Fatal(err)
	}
}

// heal takes a fault away.
func (w *network) heal(command string) {
	w.n.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, command)); err != nil {
		w.n.t.Fatal(err)
	}
}

// A network that cannot be left keeps nothing running: the containers end, their pod
// stays, not ready, with its address, through a restart of the server; and once the
// plugin works it is left, and the address is free.
func TestF20DelFails(t *testing.T) {
	n := newNode(t, "")
	w := n.newNetwork(72)
	s := n.serve()
	c := s.podConfig("pod")
	c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
	pod := s.sandbox(c)
	id := s.container(pod, s.containerConfig("c", "exec sleep 4721"))
	n.must("run", "-d", "--network", "pods", "--name", "cli", n.image, "sleep", "4722")
	n.must("run", "-d", "--network", "pods", "--rm", "--name", "goes", n.image, "sleep", "4722")
	n.must("pod", "create", "--network", "pods", "--name", "shop")
	n.must("run", "-d", "--pod", "shop", "--name", "clerk", n.image, "sleep", "4722")
	w.tell("DEL", `echo '{"cniVersion":"1.0.0","code":99,"msg":"as told"}'; exit 1`)

	for range 2 {
		if _, err := s.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err == nil || !strings.Contains(err.Error(), "as told") {
			t.Errorf("StopPodSandbox: %v", err)
		}
		if st := s.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED {
			t.Errorf("the container is %s", st.State)
		}
		n.noProcess("sleep 4721")
		now, err := s.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
		if err != nil || now.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
			t.Errorf("the sandbox is %v, %v", now.GetStatus().GetState(), err)
		}
		if got := n.Roots.Leases(); len(got) != 4 {
			t.Errorf("addresses %q: its own is free while its network has it", got)
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		s.start()
	}
	if _, err := s.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err == nil || status.Code(err) == codes.NotFound {
		t.Errorf("RemovePodSandbox: %v", err)
	}
	if now, err := s.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod}); err != nil || now.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("after a removal that failed the sandbox is %v, %v", now.GetStatus().GetState(), err)
	}
	for range 2 {
		n.fails(125, "as told", "stop", "-t", "0", "cli")
		if st := n.must("ps", "-a", "--filter", "name=cli", "--format", "{{.State}}").Line(); st != "exited" {
			t.Errorf("the container is %q", st)
		}
		n.try("rm", "-f", "-t", "0", "goes")
		n.fails(125, "as told", "pod", "rm", "-f", "-t", "0", "shop")
		n.noProcess("sleep 4722")
		if got := n.Roots.Leases(); len(got) != 4 {
			t.Errorf("addresses %q, want those of four", got)
		}
	}
	if st := n.must("pod", "ps", "--format", "{{.Name}}").Stdout; !strings.Contains(st, "shop") {
		t.Errorf("the pod is not listed: %q", st)
	}
	w.heal("DEL")
	n.must("start", "cli")
	n.must("stop", "-t", "0", "cli")
	n.must("rm", "cli")
	n.must("pod", "rm", "-f", "-t", "0", "shop")
	s.remove(pod)
	n.eventually("the one that removes itself is gone", func() bool { return n.try("rm", "-f", "--ignore", "goes").Code == 0 })
	n.empty()
	if left := n.Roots.Leases(); len(left) > 0 {
		t.Errorf("addresses that are not free: %q", left)
	}
}
