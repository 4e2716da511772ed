//go:build faults

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A check finds nothing where nothing is wrong, whatever there is.
func TestCheckFindsNothing(t *testing.T) {
	n := newNode(t, "")
	n.check()
	s := n.serve()
	pod := s.sandbox(s.podConfig("live"))
	s.container(pod, s.containerConfig("c", "exec sleep 1000"))
	n.must("run", "-d", "--name", "web", "-p", "18080:80", n.image, "sleep", "1000")
	n.must("pod", "create", "--name", "family", "--share", "net,ipc,uts,pid")
	n.must("run", "-d", "--pod", "family", "--name", "child", n.image, "sleep", "1000")
	n.must("create", "--name", "made", n.image, "true")
	n.must("run", "--name", "ended", n.image, "true")
	n.must("network", "create", "own")
	n.must("run", "-d", "--name", "on", "--network", "own", n.image, "sleep", "1000")
	n.must("volume", "create", "v")
	n.check()
	n.must("system", "check", "--deep")
	n.must("pause", "web")
	n.check()
	n.must("system", "check", "--repair")
	n.must("unpause", "web")
	s.remove(pod)
	n.check()
	n.empty()
	n.must("network", "rm", "own")
	n.must("system", "check", "--deep")
}

// Nor is anything wrong with a kubelet's container that waits to be started, whose
// process looks like the runtime that has made it.
func TestCheckLeavesCreated(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		n := newNode(t, fmt.Sprintf("[engine]\nruntime = %q\n", runtime))
		s := n.serve()
		pod := s.sandbox(s.podConfig(runtime))
		made, err := s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: s.containerConfig("c", "exec sleep 1000")})
		if err != nil {
			t.Fatal(err)
		}
		n.check()
		n.must("system", "check", "--repair")
		if _, err := s.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
			t.Errorf("with %s: %v", runtime, err)
		}
		s.remove(pod)
		n.empty()
	}
}

// Each thing that a crash of something else can leave is found, named and put
// right, and what is sound is not touched: a pod runs all the while, and its
// container is the same process afterwards.
func TestCheckFindsAndRepairs(t *testing.T) {
	n := newNode(t, "")
	id := n.must("run", "-d", "--name", "sound", "-p", "127.0.0.1::80", n.image, "sleep", "1000").Line()
	pid := n.must("inspect", "--format", "{{.State.Pid}}", "sound").Line()
	absent := strings.Repeat("ab12", 16)
	run, root := n.Roots.RunRoot, n.Roots.Root
	cgroup := "davit-" + n.Roots.NetworkTag()
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	var monitor *exec.Cmd
	for _, tt := range []struct {
		kind, object string
		make         func()
	}{
		{"run folder", absent, func() { must(os.Mkdir(filepath.Join(run, "pods", absent), 0o700)) }},
		{"status", absent, func() {
			must(os.WriteFile(filepath.Join(run, "status/containers", absent+".json"), []byte("{}"), 0o600))
		}},
		{"name", "names/pods", func() { must(os.Symlink(absent, filepath.Join(root, "names/pods", strings.Repeat("0f", 32)))) }},
		{"exit file", absent, func() { must(os.WriteFile(filepath.Join(run, "exits", absent), []byte("0"), 0o600)) }},
		{"mount", absent, func() {
			dir := filepath.Join(run, "pods", absent, "shm")
			must(os.MkdirAll(dir, 0o700), unix.Mount("shm", dir, "tmpfs", 0, ""))
		}},
		{"cgroup", absent, func() { must(os.MkdirAll(filepath.Join("/sys/fs/cgroup/memory", cgroup, absent), 0o755)) }},
		{"cgroup", id, func() { must(os.MkdirAll(filepath.Join("/sys/fs/cgroup/memory", cgroup, id, absent), 0o755)) }},
		{"runtime state", absent, func() { must(os.MkdirAll(filepath.Join(run, "runtimes/runc", absent), 0o700)) }},
		{"address", "10.", func() {
			dirs, err := filepath.Glob(filepath.Join(run, "network*/ipam/*"))
			if err != nil || len(dirs) == 0 {
				dirs, err = filepath.Glob(filepath.Join(run, "*/ipam/*"))
			}
			must(err)
			if len(dirs) == 0 {
				t.Fatal("no folder of addresses")
			}
			must(os.WriteFile(filepath.Join(dirs[0], "10.254.254.254"), []byte(absent+"\neth0"), 0o600))
		}},
		{"link", "davitfault0", func() {
			bridges, err := exec.Command("ip", "-o", "link", "show", "type", "bridge").Output()
			must(err)
			i := strings.Index(string(bridges), n.Roots.NetworkTag())
			if i < 0 {
				t.Fatalf("no bridge:\n%s", bridges)
			}
			name := string(bridges[strings.LastIndexByte(string(bridges[:i]), ' ')+1 : i+len(n.Roots.NetworkTag())])
			must(exec.Command("ip", "link", "add", "davitfault0", "type", "veth", "peer", "name", "davitfault1").Run(), exec.Command("ip", "link", "set", "davitfault0", "master", name).Run())
		}},
		{"layer", "compat4711", func() { // what is left of a driver that was killed as it tried this out
			dir := filepath.Join(root, "storage/overlay/compat4711")
			for _, d := range []string{"merged", "lower", "lower-mapped", "upper", "work"} {
				must(os.MkdirAll(filepath.Join(dir, d), 0o700))
			}
			must(unix.Mount(dir+"/lower", dir+"/lower-mapped", "", unix.MS_BIND, ""),
				unix.Mount("overlay", dir+"/merged", "overlay", 0, "lowerdir="+dir+"/lower-mapped,upperdir="+dir+"/upper,workdir="+dir+"/work"))
		}},
		{"monitor", "", func() {
			dir := filepath.Join(run, "containers", absent, "start.1")
			monitor = exec.Command("sh", "-c", "sleep 1000; true", "conmon", "--persist-dir", dir)
			monitor.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			must(monitor.Start())
		}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			tt.make()
			found, code := n.findings()
			is := func(f finding) bool {
				return f.Kind == tt.kind && strings.Contains(f.Object, tt.object) && f.Problem != "" && f.Repair != ""
			}
			if code != 1 || !slices.ContainsFunc(found, is) {
				t.Errorf("exit code %d, found %+v", code, found)
			}
			done, code := n.findings("--repair")
			if code != 0 || !slices.ContainsFunc(done, func(f finding) bool { return is(f) && f.Repaired }) {
				t.Errorf("--repair: exit code %d, %+v", code, done)
			}
			if found, code := n.findings(); code != 0 || len(found) > 0 {
				t.Errorf("afterwards: exit code %d, %+v", code, found)
			}
		})
	}
	if monitor != nil {
		if err := monitor.Wait(); err == nil {
			t.Error("the monitor of nobody was not ended")
		}
		_ = syscall.Kill(-monitor.Process.Pid, syscall.SIGKILL) // its sleep
	}
	if now := n.must("inspect", "--format", "{{.State.Pid}}", "sound").Line(); now != pid {
		t.Errorf("the container that was sound: process %s, was %s", now, pid)
	}
	n.empty()
}
