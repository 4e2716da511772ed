//go:build rootful

package criadapter_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// networked is a sandbox on the pod network.
func (r *rig) networked(name string, attempt uint32) *runtimeapi.PodSandboxConfig {
	c := r.podConfig(name)
	c.Metadata.Attempt = attempt
	c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
	return c
}

// podNetwork replaces a part of the pod network's configuration.
func (r *rig) podNetwork(t *testing.T, before, after string) {
	t.Helper()
	path := filepath.Join(r.davit.Roots.Dir, "cni", "10-pods.conflist")
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), before) {
		t.Fatalf("the pod network has no %s: %v", before, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), before, after, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reboot ends the server, all that runs on its roots and their cgroups, and has
// the run root be of another boot; then a server starts.
func (r *rig) reboot(t *testing.T) {
	t.Helper()
	if err := r.server.Kill(); err != nil {
		t.Fatal(err)
	}
	monitors, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var pids []string
	for _, f := range monitors {
		line, _ := os.ReadFile(f)
		if strings.Contains(string(line), r.davit.Roots.RunRoot) { // before they see their containers end
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	mine, err := filepath.Glob("/sys/fs/cgroup/*/davit-" + r.davit.Roots.NetworkTag())
	if err != nil || len(mine) == 0 {
		t.Fatalf("no cgroups of the roots: %v", err)
	}
	var dirs []string
	for _, top := range mine {
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
				procs, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
				pids = append(pids, strings.Fields(string(procs))...)
			}
			return nil
		})
	}
	for _, p := range pids {
		if pid, err := strconv.Atoi(p); err == nil && pid > 1 && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		for end := time.Now().Add(5 * time.Second); unix.Rmdir(dirs[i]) == unix.EBUSY; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s stays busy", dirs[i])
			}
		}
	}
	if err := os.WriteFile(filepath.Join(r.davit.Roots.RunRoot, "boot-id"), []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	r.conn.ResetConnectBackoff()
	if _, err := r.Version(t.Context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
}

// TestReboot: what ran has ended for a reason that is told, a new attempt runs
// beside it, and the addresses that the network kept on disk are free again, with or
// without the old sandboxes.
func TestReboot(t *testing.T) {
	r := newRig(t, "")
	r.podNetwork(t, `"ipMasq": true`, `"ipMasq": false`) // nobody takes its rules away, as a restart does
	var ids []string
	for _, name := range []string{"stopped", "removed", "again"} {
		ids = append(ids, r.sandbox(t, r.networked(name, 0)))
	}
	running := r.run(t, ids[0], r.containerConfig("main", "sleep 1000"))
	ended := r.run(t, ids[0], r.containerConfig("job", "exit 3"))
	r.ended(t, ended)
	made := r.create(t, ids[0], r.containerConfig("made", "true"))
	r.reboot(t)
	for _, id := range ids {
		s := r.sandboxStatus(t, id)
		if s.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
			t.Errorf("sandbox %s is %s", s.Metadata.Name, s.State)
		}
	}
	if s := r.status(t, running); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.Reason != "Reboot" || s.Message == "" || s.FinishedAt <= 0 {
		t.Errorf("what ran is %v", s)
	}
	if s := r.status(t, ended); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.ExitCode != 3 {
		t.Errorf("what had ended is %v", s)
	}
	if s := r.status(t, made); s.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("what was not started is %v", s)
	}
	await(t, "all addresses to be free", func() bool { return len(r.davit.Roots.Leases()) == 0 })

	next := r.sandbox(t, r.networked("stopped", 1))
	r.run(t, next, r.containerConfig("main", "sleep 1000"))
	for _, tt := range []struct {
		name  string
		do    func() error
		wants int
	}{
		{"stop", func() error {
			_, err := r.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: ids[0]})
			return err
		}, 1},
		{"remove what was stopped", func() error {
			_, err := r.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: ids[0]})
			return err
		}, 1},
		{"remove", func() error {
			_, err := r.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: ids[1]})
			return err
		}, 1},
		{"run again", func() error {
			out, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: r.networked("again", 0)})
			if err == nil && out.PodSandboxId != ids[2] {
				t.Errorf("run again, it is %s, not %s", out.PodSandboxId, ids[2])
			}
			return err
		}, 2},
	} {
		if err := tt.do(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := r.davit.Roots.Leases(); len(got) != tt.wants {
			t.Errorf("after %s: leases %v, want %d", tt.name, got, tt.wants)
		}
	}
	if s := r.sandboxStatus(t, ids[2]); s.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("run again, it is %s", s.State)
	}
	list, err := r.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{})
	if err != nil || len(list.Containers) != 1 {
		t.Errorf("containers %v, %v; want the new attempt's", list.GetContainers(), err)
	}
}

func (r *rig) sandboxStatus(t *testing.T, id string) *runtimeapi.PodSandboxStatus {
	t.Helper()
	out, err := r.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		t.Fatal(err)
	}
	return out.Status
}
