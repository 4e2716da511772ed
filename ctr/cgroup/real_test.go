//go:build rootful

package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// real is a cgroup of the machine that is removed after the test.
func real(t *testing.T) (*Host, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h, err := Detect()
	if err != nil {
		t.Skip(err)
	}
	return h, placed(t, h)
}

// placed is a cgroup of a host that is removed after the test.
func placed(t *testing.T, h *Host) string {
	t.Helper()
	parent := fmt.Sprintf("/davit-test-cgroup-%d", os.Getpid())
	path := fmt.Sprintf("%s/%d", parent, time.Now().UnixNano())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.Kill(ctx, path); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("Kill: %v", err)
		}
		if err := h.Remove(ctx, path); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("Remove: %v", err)
		}
		if err := h.Prune(parent); err != nil {
			t.Errorf("Prune: %v", err)
		}
	})
	return path
}

// enter starts a shell that is in the cgroup from its first instruction on.
func enter(t *testing.T, h *Host, path, script string) *exec.Cmd {
	t.Helper()
	join := ""
	for _, tree := range h.hierarchies() {
		join += fmt.Sprintf("echo $$ >%s; ", filepath.Join(tree.mount, path, "cgroup.procs"))
	}
	cmd := exec.Command("/bin/sh", "-c", join+"echo in; "+script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestCreateLimitRemove(t *testing.T) {
	h, path := real(t)
	res := &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(256)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000))},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(64 << 20))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(50))},
	}
	for range 2 {
		if err := h.Create(t.Context(), path, res); err != nil {
			t.Fatal(err)
		}
	}
	// Raising and lowering keep the memory limit below the sum.
	for _, n := range []int64{256 << 20, 32 << 20, -1, 64 << 20} {
		if err := h.Set(path, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &n, Swap: &n}}); err != nil {
			t.Errorf("Set %d: %v", n, err)
		}
	}
	s, err := h.Stats(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Memory.Limit != 64<<20 || s.Pids.Limit != 50 || s.Pids.Current != 0 {
		t.Errorf("%+v", s)
	}
	if err := h.Remove(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(t.Context(), path); !errdefs.IsNotFound(err) {
		t.Errorf("Remove again: %v", err)
	}
	if _, err := h.Procs(path); !errdefs.IsNotFound(err) {
		t.Errorf("Procs: %v", err)
	}
}

func TestKillTree(t *testing.T) {
	h, path := real(t)
	if err := h.Create(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	sub := path + "/sub"
	if err := h.Create(t.Context(), sub, nil); err != nil {
		t.Fatal(err)
	}
	top := enter(t, h, path, "trap '' TERM; sleep 100 & sleep 100")
	below := enter(t, h, sub, "exec sleep 100")
	if pids, err := h.Procs(path); err != nil || len(pids) < 2 {
		t.Fatalf("Procs = %v, %v", pids, err)
	}
	if err := h.Freeze(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if is, err := h.Frozen(sub); err != nil || !is {
		t.Errorf("Frozen = %v, %v", is, err)
	}
	began := time.Now()
	if err := h.Kill(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	t.Logf("killed in %v", time.Since(began))
	_, _ = top.Process.Wait()
	_, _ = below.Process.Wait()
	if err := h.Remove(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

// A container may make threaded cgroups in its own (version 2).
func TestKillThreaded(t *testing.T) {
	h, _ := real(t)
	if h.mounts[""] == "" {
		t.Skip("no hierarchy of version 2")
	}
	h = &Host{Version: 2, mounts: map[string]string{"": h.mounts[""]}}
	path := placed(t, h)
	if err := h.Create(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(h.dir("", path), "threads")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(sub, "cgroup.type"), "threaded"); err != nil {
		t.Skip(err) // not below a cgroup that gives controllers
	}
	cmd := enter(t, h, path, "exec sleep 100")
	if pids, err := h.Procs(path); err != nil || !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("Procs = %v, %v", pids, err)
	}
	if err := h.Kill(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	_, _ = cmd.Process.Wait()
	if err := h.Remove(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

// A process that forks as fast as it can is stopped all the same.
func TestKillForkBomb(t *testing.T) {
	h, path := real(t)
	if err := h.Create(t.Context(), path, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(60))}}); err != nil {
		t.Fatal(err)
	}
	enter(t, h, path, "b() { b & b & }; while :; do b; done 2>/dev/null")
	time.Sleep(200 * time.Millisecond)
	if err := h.Kill(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveBusy(t *testing.T) {
	h, path := real(t)
	if err := h.Create(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	cmd := enter(t, h, path, "exec sleep 0.3")
	go func() { _ = cmd.Wait() }()
	if err := h.Remove(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveBusyNamesProcesses(t *testing.T) {
	h, path := real(t)
	if err := h.Create(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	cmd := enter(t, h, path, "exec sleep 100")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := h.Remove(ctx, path)
	if !errdefs.IsUnavailable(err) {
		t.Fatalf("Remove = %v", err)
	}
	if want := fmt.Sprint(cmd.Process.Pid); !contains(err.Error(), want) {
		t.Errorf("%v does not name %s", err, want)
	}
}

func contains(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}

func TestWatchOOM(t *testing.T) {
	h, path := real(t)
	limit := int64(16 << 20)
	res := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
	if err := h.Create(t.Context(), path, res); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events, err := h.WatchOOM(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	// Swap, if the host has any, must not save it.
	_ = h.Set(path, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}})
	enter(t, h, path, "head -c 100000000 /dev/zero | busybox tail -c 90000000 >/dev/null")
	if n := <-events; n == 0 {
		t.Error("no kill was counted")
	}
	if n, err := h.OOMKills(path); err != nil || n == 0 {
		t.Errorf("OOMKills = %d, %v", n, err)
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	h, err := Detect()
	if err != nil || os.Geteuid() != 0 {
		b.Skip("needs root and cgroups")
	}
	res := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: ptr(int64(50))}}
	path := fmt.Sprintf("/davit-bench-%d", os.Getpid())
	for b.Loop() {
		if err := h.Create(b.Context(), path, res); err != nil {
			b.Fatal(err)
		}
		if err := h.Remove(b.Context(), path); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDetect(b *testing.B) {
	for b.Loop() {
		if _, err := Detect(); err != nil {
			b.Skip(err)
		}
	}
}

func BenchmarkStats(b *testing.B) {
	h, err := Detect()
	if err != nil || os.Geteuid() != 0 {
		b.Skip("needs root and cgroups")
	}
	path := fmt.Sprintf("/davit-bench-%d", os.Getpid())
	if err := h.Create(b.Context(), path, nil); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = h.Remove(context.Background(), path) }()
	for b.Loop() {
		if _, err := h.Stats(path); err != nil {
			b.Fatal(err)
		}
	}
}
