//go:build rootful

package criadapter_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// kubeletCgroup makes a pod's cgroup as a kubelet does, which has its sandboxes'
// below it, and says that it is there as long as the kubelet wants it.
func kubeletCgroup(t *testing.T, path string) {
	t.Helper()
	tops, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for _, top := range tops {
		dir := filepath.Join(filepath.Dir(top), path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Errorf("the kubelet's cgroup: %v", err)
			}
			for dir = filepath.Dir(dir); dir != filepath.Dir(top); dir = filepath.Dir(dir) {
				_ = os.Remove(dir)
			}
		})
	}
}

// TestSandboxSettings: what a kubelet asks for a sandbox is what its containers
// have, and what it may use.
func TestSandboxSettings(t *testing.T) {
	const parent = "/kubelet-settings/burstable/pod1"
	kubeletCgroup(t, parent)
	r := newRig(t, "")
	r.podNetwork(t, `"ranges": [[{"subnet": "10.93.0.0/16"}]]`, `"ranges": [[{"subnet": "10.93.0.0/16"}], [{"subnet": "fd00:93::/64"}]]`)
	c := r.networked("settings", 0)
	c.Hostname = "web-1"
	c.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"192.0.2.1", "192.0.2.2"}, Searches: []string{"a.example", "b.example"}, Options: []string{"ndots:5", "edns0"}}
	c.Linux.CgroupParent = parent
	c.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shm_rmid_forced": "1"}
	c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuPeriod: 100000, CpuQuota: 50000, CpuShares: 512}
	c.Linux.Overhead = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 16 << 20, CpuQuota: 10000, CpuShares: 100}
	id := r.sandbox(t, c)
	k := r.containerConfig("main", "sleep 1000")
	k.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 32 << 20, CpuPeriod: 100000, CpuQuota: 20000}}
	main := r.run(t, id, k)

	for _, tt := range []struct {
		want    string
		command []string
	}{
		{"web-1", []string{"hostname"}},
		{"web-1", []string{"cat", "/etc/hostname"}},
		{"nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a.example b.example\noptions ndots:5 edns0", []string{"cat", "/etc/resolv.conf"}},
		{"7", []string{"cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"}},
		{"1", []string{"cat", "/proc/sys/kernel/shm_rmid_forced"}},
	} {
		got := r.exec(t, main, tt.command...)
		if tt.command[len(tt.command)-1] == "/etc/resolv.conf" {
			got, tt.want = sortedLines(got), sortedLines(tt.want)
		}
		if got != tt.want {
			t.Errorf("%v gives %q, want %q", tt.command, got, tt.want)
		}
	}
	network := r.sandboxStatus(t, id).Network
	if ip, err := netip.ParseAddr(network.Ip); err != nil || !ip.Is4() || len(network.AdditionalIps) != 1 {
		t.Fatalf("addresses %v", network)
	}
	if ip, err := netip.ParseAddr(network.AdditionalIps[0].Ip); err != nil || !netip.MustParsePrefix("fd00:93::/64").Contains(ip) {
		t.Errorf("addresses %v", network)
	}
	if got := r.exec(t, main, "cat", "/etc/hosts"); !strings.Contains(got, network.Ip) || !strings.Contains(got, "web-1") {
		t.Errorf("hosts are %q", got)
	}

	check := func(when string, memory, quota, shares int64) {
		t.Helper()
		for file, want := range map[string]int64{
			"memory/memory.limit_in_bytes": memory, "cpu/cpu.cfs_quota_us": quota, "cpu/cpu.shares": shares,
		} {
			controller, name, _ := strings.Cut(file, "/")
			data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", controller, parent, id, name))
			if got, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err != nil || got != want {
				t.Errorf("%s, %s is %d, %v; want %d", when, name, got, err, want)
			}
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		t.Skip("limits are looked at on cgroup v1 alone")
	}
	check("made", 80<<20, 60000, 612)
	if _, err := os.Stat(filepath.Join("/sys/fs/cgroup/memory", parent, id, main)); err != nil {
		t.Errorf("the container's cgroup: %v", err)
	}
	_, err := r.UpdatePodSandboxResources(t.Context(), &runtimeapi.UpdatePodSandboxResourcesRequest{
		PodSandboxId: id,
		Resources:    &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, CpuPeriod: 100000, CpuQuota: 70000, CpuShares: 700},
		Overhead:     &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 16 << 20, CpuQuota: 10000, CpuShares: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	check("updated", 144<<20, 80000, 800)
	r.restart(t)
	check("with another server", 144<<20, 80000, 800)
	if _, err := r.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join("/sys/fs/cgroup/memory", parent, id)); !os.IsNotExist(err) {
		t.Errorf("stopped, its cgroup is there: %v", err)
	}
	if again, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: c}); err != nil || again.PodSandboxId != id {
		t.Fatalf("run again: %v, %v", again, err)
	}
	check("made ready again", 144<<20, 80000, 800)
}

// TestResizeInPlace: a kubelet tells of a sandbox's limits before it raises its own
// cgroup, above which cgroup v1 lets no quota be, and before it lowers the container's.
func TestResizeInPlace(t *testing.T) {
	const parent = "/kubelet-resize/burstable/pod1"
	if _, err := os.Stat("/sys/fs/cgroup/cpu"); err != nil {
		t.Skip("cgroup v2 has no such order")
	}
	kubeletCgroup(t, parent)
	r := newRig(t, "")
	own := func(quota string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join("/sys/fs/cgroup/cpu", parent, "cpu.cfs_quota_us"), []byte(quota), 0); err != nil {
			t.Fatal(err)
		}
	}
	own("20000")
	limits := func(quota int64) *runtimeapi.LinuxContainerResources {
		return &runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: quota}
	}
	c := r.podConfig("resize")
	c.Linux.CgroupParent, c.Linux.Resources = parent, limits(20000)
	id := r.sandbox(t, c)
	k := r.containerConfig("main", "sleep 1000")
	k.Linux = &runtimeapi.LinuxContainerConfig{Resources: limits(20000)}
	main := r.run(t, id, k)
	resize := func(when string, quota int64, between func()) {
		t.Helper()
		if _, err := r.UpdatePodSandboxResources(t.Context(), &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: id, Resources: limits(quota)}); err != nil {
			t.Errorf("%s: the sandbox: %v", when, err)
		}
		between()
		if _, err := r.UpdateContainerResources(t.Context(), &runtimeapi.UpdateContainerResourcesRequest{ContainerId: main, Linux: limits(quota)}); err != nil {
			t.Errorf("%s: the container: %v", when, err)
		}
		for _, path := range []string{id, filepath.Join(id, main)} {
			data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpu", parent, path, "cpu.cfs_quota_us"))
			if got := strings.TrimSpace(string(data)); err != nil || got != strconv.FormatInt(quota, 10) {
				t.Errorf("%s: the quota of %s is %s, %v; want %d", when, path, got, err, quota)
			}
		}
	}
	resize("raised", 50000, func() { own("50000") })
	resize("lowered", 30000, func() {})
	own("30000")
}

// sortedLines is a text whose lines' order does not count.
func sortedLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestSystemdSlices: with cgroup_manager systemd a sandbox takes the kubelet's
// slice as it is, and a path is refused; with cgroupfs a slice is.
func TestSystemdSlices(t *testing.T) {
	n := newNode(t, 112)
	r := sandboxRequest("a")
	r.Config.Linux.CgroupParent = "/kubepods.slice/kubepods-pod1.slice"
	_, err := n.runtime.RunPodSandbox(t.Context(), r)
	n.wantCode(err, codes.InvalidArgument)
	n.must(n.server.Stop())
	config, err := os.ReadFile(n.davit.Roots.Config)
	n.must(err)
	systemd := "[engine]\ncgroup_manager = \"systemd\"\n"
	if strings.Contains(string(config), "[engine]\n") {
		config = []byte(strings.Replace(string(config), "[engine]\n", systemd, 1))
	} else {
		config = append(config, "\n"+systemd...)
	}
	n.must(os.WriteFile(n.davit.Roots.Config, config, 0o644))
	n.start()
	about, err := n.runtime.RuntimeConfig(t.Context(), &runtimeapi.RuntimeConfigRequest{})
	if err != nil || about.Linux.CgroupDriver != runtimeapi.CgroupDriver_SYSTEMD {
		t.Errorf("the driver is %v, %v", about, err)
	}
	made, err := n.runtime.RunPodSandbox(t.Context(), r)
	n.must(err)
	status, err := n.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: made.PodSandboxId, Verbose: true})
	if err != nil || !strings.Contains(status.Info["info"], `"cgroup":"/kubepods.slice/kubepods-pod1.slice"`) {
		t.Errorf("its cgroup is not the slice: %v, %v", status, err)
	}
	if dirs, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods.slice"); len(dirs) > 0 {
		t.Errorf("davit made %v", dirs)
	}
	n.must(n.stop(made.PodSandboxId))
	r = sandboxRequest("b")
	r.Config.Linux.CgroupParent = "/kubepods/pod1"
	_, err = n.runtime.RunPodSandbox(t.Context(), r)
	n.wantCode(err, codes.InvalidArgument)
}
