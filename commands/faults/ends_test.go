//go:build faults

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Processes that do not mind their stop signal are killed at the end of the grace,
// whoever their parents are: in a PID namespace that a pod shares, the kernel ends
// nobody when a container's first process does. Others in there live on.
func TestF50TermIgnored(t *testing.T) {
	const ignores = "trap '' TERM; setsid sleep 4731 & sleep 4731 & (sleep 4731 &); sleep 4731; sleep 4731; true"
	const leaves = "trap 'exit 3' TERM; (trap '' TERM; setsid sleep 4731) & while :; do sleep 0.05; done"
	n := newNode(t, "")
	n.must("pod", "create", "--name", "shared", "--share", "pid,ipc,uts,net")
	n.must("run", "-d", "--pod", "shared", "--name", "other", n.image, "sleep", "4732")
	s := n.serve()
	for _, pid := range []runtimeapi.NamespaceMode{runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_NODE} {
		c := s.podConfig("pod-" + strings.ToLower(pid.String()))
		c.Linux.SecurityContext.NamespaceOptions.Pid = pid
		pod := s.sandbox(c)
		make := func(name, script string) string {
			k := s.containerConfig(name, script)
			k.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: pid, Network: runtimeapi.NamespaceMode_NODE},
			}}
			return s.container(pod, k)
		}
		other := make("other", "exec sleep 4732")
		for name, script := range map[string]string{"ignores": ignores, "leaves": leaves} {
			id := make(name, script)
			n.eventually("they run", func() bool { return len(processes("sleep 4731")) > 0 })
			began := time.Now()
			if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 1}); err != nil {
				t.Error(err)
			}
			took := time.Since(began)
			if left := processes("sleep 4731"); len(left) > 0 {
				t.Errorf("%s in %s: %d processes are left", name, pid, len(left))
			}
			code := s.status(id).ExitCode
			if name == "ignores" && (code != 137 || took < time.Second || took > 5*time.Second) || name == "leaves" && code != 3 {
				t.Errorf("%s in %s: exit code %d after %s", name, pid, code, took)
			}
			if st := s.status(other).State; st != runtimeapi.ContainerState_CONTAINER_RUNNING {
				t.Errorf("the other one in %s is %s", pid, st)
			}
		}
		make("last", ignores)
		s.remove(pod)
		n.noProcess("sleep 4731")
	}
	for name, args := range map[string][]string{"own": nil, "shared": {"--pod", "shared"}} {
		for script, code := range map[string]string{ignores: "137", leaves: "3"} {
			n.must(append(append([]string{"run", "-d", "--name", name}, args...), n.image, "sh", "-c", script)...)
			n.eventually("they run", func() bool { return len(processes("sleep 4731")) > 0 })
			n.within(6*time.Second, func() { n.must("stop", "-t", "1", name) })
			if left := processes("sleep 4731"); len(left) > 0 {
				t.Errorf("%s: %d processes are left", name, len(left))
			}
			if got := n.must("inspect", "--format", "{{.State.ExitCode}}", name).Line(); got != code {
				t.Errorf("%s: exit code %s, want %s", name, got, code)
			}
			n.must("rm", name)
		}
	}
	if got := n.must("ps", "--format", "{{.Names}}").Stdout; !strings.Contains(got, "other") {
		t.Errorf("the other one has ended: %q", got)
	}
	n.empty()
}

// What somebody has open, or sits in, or has mounted over, of a container's or a
// pod's mounts is detached, and what was below goes, at the first call or one that
// repeats it.
func TestF49BusyUnmount(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	volume := filepath.Join(n.Roots.Dir, "volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"cwd", "open", "below", "over"} {
		var undo []func()
		busy := func(paths ...string) {
			for _, path := range paths {
				undo = append(undo, n.busy(how, path))
			}
		}
		cli := n.must("run", "-d", "--name", "cli", "-v", volume+":/mnt", "--tmpfs", "/scratch", n.image, "sleep", "4733").Line()
		id := s.container(pod, s.containerConfig("c", "exec sleep 4733"))
		busy(n.rootfs(cli), n.rootfs(id))
		busy(filepath.Join(n.Roots.RunRoot, "pods", cli, "shm"))
		n.must("stop", "-t", "0", "cli")
		n.must("start", "cli")
		n.must("rm", "-f", "-t", "0", "cli")
		if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if _, err := s.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []string{cli, id} {
			if strings.Contains(string(mounts), c) {
				t.Errorf("%s: something of %s is mounted still", how, c)
			}
		}
		for _, f := range undo {
			f()
		}
	}
	s.remove(pod)
	n.empty()
}

// rootfs is where a container's root filesystem is mounted.
func (n *node) rootfs(container string) string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.Roots.RunRoot, "status", "containers", container+".json"))
	if err != nil {
		n.t.Fatal(err)
	}
	found := regexp.MustCompile(`"mounted": ?"([^"]+)"`).FindSubmatch(data)
	if found == nil {
		n.t.Fatalf("no root filesystem in %s", data)
	}
	return string(found[1])
}

// busy makes a mount busy: by somebody who sits in it or has a file of it open, by
// mounts below it, or by some over it.
func (n *node) busy(how, path string) (undo func()) {
	n.t.Helper()
	switch how {
	case "below":
		dir := filepath.Join(path, "below")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			n.t.Fatal(err)
		}
		path = dir
		fallthrough
	case "over":
		for range 2 {
			if err := unix.Mount("tmpfs", path, "tmpfs", 0, ""); err != nil {
				n.t.Fatalf("%s: %v", path, err)
			}
		}
		return func() {}
	case "open":
		f, err := os.Create(filepath.Join(path, "open"))
		if err != nil {
			n.t.Fatal(err)
		}
		return func() { _ = f.Close() }
	}
	cmd := exec.CommandContext(n.t.Context(), "sleep", "4734")
	cmd.Dir = path
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
}

// A memory limit that is too low for the runtime itself is what the error names, and
// nothing of the container is left.
func TestF41MemoryLimitTooLow(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	const says = "memory limit"
	for _, limit := range []int64{4 << 10, 64 << 10, 512 << 10} {
		size := fmt.Sprint(limit)
		n.fails(125, says, "run", "--rm", "-m", size, n.image, "true")
		n.must("create", "--name", "cli", "-m", size, n.image, "true")
		n.fails(125, says, "start", "cli")
		n.must("rm", "cli")
		c := s.containerConfig("c", "true")
		c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: limit}}
		out, err := s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
		if err == nil {
			_, err = s.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: out.ContainerId})
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", size, err)
		}
		if out != nil {
			if _, err := s.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: out.ContainerId}); err != nil {
				t.Error(err)
			}
		}
	}
	s.remove(pod)
	n.empty()
}
