//go:build faults

package faults

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// smallState puts a node's records on a file system of their own, of a few MiB in
// memory, and its layers where they were.
func smallState(r harness.Roots) error {
	layers, store := filepath.Join(r.Dir, "layers"), filepath.Join(r.Root, "storage")
	if err := os.Mkdir(layers, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", r.Root, "tmpfs", 0, "size=4m,mode=711"); err != nil {
		return err
	}
	return errors.Join(os.Mkdir(store, 0o700), unix.Mount(layers, store, "", unix.MS_BIND, ""))
}

// fill leaves no byte on the file system of a folder until the function that it
// returns is called.
func (n *node) fill(dir string) (free func()) {
	n.t.Helper()
	undo, err := harness.Fill(dir, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	return func() {
		n.t.Helper()
		if err := undo(); err != nil {
			n.t.Fatal(err)
		}
	}
}

// On a full state folder nothing new begins, and says why; what is there is started, is
// listed, is read, stops and is removed; and no record is torn.
func TestF26StateFolderFull(t *testing.T) {
	n := newNodeOn(t, smallState, "")
	n.must("run", "-d", "--name", "web", n.image, "sh", "-c", "echo up; exec sleep 1000")
	n.must("run", "-d", "--name", "other", "--network", "none", n.image, "sleep", "1000")
	n.try("run", "--name", "done", "--network", "none", n.image, "false")
	n.must("run", "-d", "--name", "code", "--network", "none", n.image, "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
	n.must("run", "-d", "--name", "again", "--network", "none", "--restart", "always", n.image, "sleep", "1000")
	n.must("create", "--name", "made", "--network", "none", n.image, "true")
	n.must("create", "--name", "late", "--network", "none", n.image, "sleep", "1000")
	n.must("pod", "create", "--name", "shop", "--network", "none")
	n.must("run", "-d", "--pod", "shop", "--name", "clerk", n.image, "sleep", "1000")
	free := n.fill(n.Roots.Root)

	full := `no space left on device[\s\S]*Hint: .*` + n.Roots.Root
	n.fails(125, full, "create", "--name", "new", n.image, "true")
	n.fails(125, full, "run", "--rm", n.image, "true")
	n.fails(125, full, "pod", "create", "--name", "more")
	n.fails(125, full, "rename", "made", "renamed")
	n.must("ps", "--all")
	n.must("inspect", "web")
	if got := n.must("logs", "web").Stdout; got != "up\n" {
		t.Errorf("the log is %q", got)
	}
	n.must("exec", "web", "true")
	n.must("start", "late")
	n.must("exec", "late", "true")
	n.must("stop", "code")
	n.must("stop", "-t", "0", "again", "web") // nothing is removed yet: there is no room
	if got := n.must("ps", "--all", "--filter", "name=web", "--format", "{{.State}}").Line(); got != "exited" {
		t.Errorf("after stop it is %q", got)
	}
	n.must("rm", "web")
	n.must("rm", "-f", "-t", "0", "late")
	n.must("kill", "other")
	n.must("wait", "other")
	n.must("rm", "other", "done")
	n.must("rm", "again")
	n.must("pod", "stop", "-t", "0", "shop")
	n.must("pod", "rm", "shop")
	n.must("system", "check")
	free()

	if err := n.Roots.NewBoot(); err != nil {
		t.Fatal(err)
	}
	if got := n.must("inspect", "--format", "{{.State.ExitCode}}", "code").Line(); got != "7" {
		t.Errorf("after a boot its exit code is %q", got)
	}
	n.must("rm", "code")
	if got := n.must("ps", "--all", "--format", "{{.Names}}").Line(); got != "made" {
		t.Errorf("there are %q", got)
	}
	n.must("start", "made")
	n.must("rename", "made", "renamed")
	n.must("create", "--name", "new", n.image, "true")
	n.empty()
}

// On a full run root, where statuses and exit codes are, nothing new begins either;
// what runs is listed, stops and is removed.
func TestF26RunRootFull(t *testing.T) {
	n := newNodeOn(t, func(r harness.Roots) error { // but for what the layer store notes of its mounts
		mounts, store := filepath.Join(r.Dir, "mounts"), filepath.Join(r.RunRoot, "storage")
		err := errors.Join(os.Mkdir(mounts, 0o700), unix.Mount("tmpfs", r.RunRoot, "tmpfs", 0, "size=4m,mode=711"))
		return errors.Join(err, os.Mkdir(store, 0o700), unix.Mount(mounts, store, "", unix.MS_BIND, ""))
	}, "")
	for _, name := range []string{"web", "other", "third"} {
		n.must("run", "-d", "--name", name, n.image, "sleep", "1000")
	}
	n.try("run", "--name", "done", "--network", "none", n.image, "false")
	n.must("pod", "create", "--name", "shop", "--network", "none")
	n.must("run", "-d", "--pod", "shop", "--name", "clerk", n.image, "sleep", "1000")
	free := n.fill(n.Roots.RunRoot)
	n.fails(125, "no space left on device", "create", "--name", "new", n.image, "true")
	n.fails(125, "no space left on device", "run", "--rm", n.image, "true")
	n.must("ps", "--all")
	n.must("inspect", "web")
	n.fails(125, "no space left on device", "exec", "web", "true")
	n.must("stop", "-t", "0", "web")
	if got := n.must("ps", "--all", "--filter", "name=web", "--format", "{{.State}}").Line(); got != "exited" {
		t.Errorf("after stop it is %q", got)
	}
	n.must("rm", "web")
	n.must("kill", "other")
	n.must("wait", "other")
	n.must("rm", "other", "done")
	n.must("rm", "-f", "-t", "0", "third")
	n.must("pod", "stop", "-t", "0", "shop")
	n.must("pod", "rm", "shop")
	n.must("system", "check")
	free()
	n.must("run", "--rm", n.image, "true")
	n.empty()
}

// The same of a server: it starts, says what it has no space for, stops and removes.
func TestF26ServersStateFolderFull(t *testing.T) {
	n := newNodeOn(t, smallState, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("kept"))
	id := s.container(pod, s.containerConfig("c", "exec sleep 1000"))
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	free := n.fill(n.Roots.Root)
	s.start()

	_, err := s.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: s.podConfig("new")})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("RunPodSandbox: %v", err)
	}
	_, err = s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: s.containerConfig("d", "true")})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("CreateContainer: %v", err)
	}
	if got := s.status(id).State; got != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container is %s", got)
	}
	if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
	if got := s.status(id); got.State != runtimeapi.ContainerState_CONTAINER_EXITED || got.ExitCode != 137 {
		t.Errorf("after stop it is %s, code %d", got.State, got.ExitCode)
	}
	if _, err := s.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
	s.remove(pod)
	n.check()
	free()
	s.remove(s.sandbox(s.podConfig("new")))
}
