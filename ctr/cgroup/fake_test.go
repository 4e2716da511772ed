package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// fake is a host whose hierarchies are plain folders with the given files.
func fake(t *testing.T, version int, controllers []string, files map[string]string) *Host {
	t.Helper()
	root := t.TempDir()
	h := &Host{Version: version, mounts: map[string]string{}}
	for _, c := range controllers {
		h.mounts[c] = filepath.Join(root, c)
		if err := os.MkdirAll(h.mounts[c], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func contents(t *testing.T, h *Host, controller, path string) map[string]string {
	t.Helper()
	dir := h.dir(controller, path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if data, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil && len(data) > 0 {
			out[e.Name()] = strings.TrimSpace(string(data))
		}
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func TestParseMounts(t *testing.T) {
	tests := []struct {
		name        string
		mountinfo   string
		version     int
		memory, one string
		wantErr     error
	}{
		{"version 1", "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" +
			"36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", 1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct", nil},
		{"hybrid", "36 31 0:33 / /c/memory rw shared:1 - cgroup cgroup rw,memory\n41 31 0:38 / /c/unified rw - cgroup2 cgroup2 rw\n" +
			"40 31 0:37 / /c/sy\\040d rw - cgroup cgroup rw,xattr,name=systemd\n", 1, "/c/memory", "", nil},
		{"version 2", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", 2, "/sys/fs/cgroup", "/sys/fs/cgroup", nil},
		{"version 2 with a named one", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n40 31 0:37 / /x rw - cgroup cgroup rw,name=systemd\n", 2, "/sys/fs/cgroup", "/sys/fs/cgroup", nil},
		{"none", "1 1 0:1 / / rw - ext4 /dev/vda rw\n", 0, "", "", errdefs.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseMounts(strings.NewReader(tt.mountinfo))
			if !errors.Is(err, tt.wantErr) || err != nil {
				if !errors.Is(err, tt.wantErr) {
					t.Fatalf("error %v, want %v", err, tt.wantErr)
				}
				return
			}
			if h.Version != tt.version || h.dir("memory", "") != tt.memory || h.dir("cpuacct", "") != tt.one {
				t.Errorf("got %+v", h)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"machine.slice": "/machine.slice",
		"a-b-c.slice":   "/a.slice/a-b.slice/a-b-c.slice",
		"-.slice":       "",
		"a--b.slice":    "error", "a.scope": "error", ".slice": "error", "x/y.slice": "error", "-a.slice": "error",
	} {
		got, err := SlicePath(in)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("SlicePath(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		Scope("machine-davit.slice", "davit", "abc"): "/machine.slice/machine-davit.slice/davit-abc.scope",
		Scope("", "", "abc"):                         "/system.slice/abc.scope",
		"a.slice:b":                                  "error",
		"a.slice:b:":                                 "error",
		"a.slice:../x:y":                             "error",
	} {
		got, err := ScopePath(in)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("ScopePath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPathsBelowTheRootOnly(t *testing.T) {
	h := fake(t, 2, []string{""}, nil)
	for _, path := range []string{"", "/", "rel", "/a/../..", "/a/", "/a//b"} {
		for what, err := range map[string]error{
			"Create": h.Create(t.Context(), path, nil), "Remove": h.Remove(t.Context(), path), "Kill": h.Kill(t.Context(), path),
			"Freeze": h.Freeze(t.Context(), path), "Prune": h.Prune(path),
		} {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s(%q) = %v", what, path, err)
			}
		}
	}
}

func TestLimitsVersion1(t *testing.T) {
	files := map[string]string{}
	for _, f := range strings.Fields("cpu/p/cpu.shares cpu/p/cpu.cfs_period_us cpu/p/cpu.cfs_quota_us cpuset/p/cpuset.cpus cpuset/p/cpuset.mems " +
		"memory/p/memory.soft_limit_in_bytes memory/p/memory.memsw.limit_in_bytes pids/p/pids.max blkio/p/blkio.bfq.weight " +
		"blkio/p/blkio.throttle.read_bps_device hugetlb/p/hugetlb.2MB.limit_in_bytes") {
		files[f] = ""
	}
	files["memory/p/memory.limit_in_bytes"] = "9223372036854771712\n"
	h := fake(t, 1, strings.Fields("cpu cpuset memory pids blkio hugetlb"), files)
	err := h.Set("/p", &specs.LinuxResources{
		CPU:            &specs.LinuxCPU{Shares: ptr(uint64(512)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Cpus: "0-1", Mems: "0"},
		Memory:         &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(128 << 20)), Reservation: ptr(int64(1 << 20))},
		Pids:           &specs.LinuxPids{Limit: ptr(int64(-1))},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(500)),
			ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{throttle(8, 0, 1000)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range h.Controllers() {
		for k, v := range contents(t, h, c, "/p") {
			got[k] = v
		}
	}
	want := map[string]string{
		"cpu.shares": "512", "cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "cpuset.cpus": "0-1", "cpuset.mems": "0",
		"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "134217728", "memory.soft_limit_in_bytes": "1048576",
		"pids.max": "max", "blkio.bfq.weight": "500", "blkio.throttle.read_bps_device": "8:0 1000", "hugetlb.2MB.limit_in_bytes": "4194304",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func throttle(major, minor int64, rate uint64) specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = major, minor
	return d
}

func TestLimitsVersion2(t *testing.T) {
	files := map[string]string{}
	for _, f := range strings.Fields("cpu.weight cpu.max cpuset.cpus memory.max memory.swap.max memory.low pids.max io.weight io.max memory.high") {
		files["p/"+f] = ""
	}
	h := fake(t, 2, []string{""}, files)
	err := h.Set("/p", &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(-1)), Period: ptr(uint64(100000)), Cpus: "1"},
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20)), Reservation: ptr(int64(1 << 20))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(10))},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(1000)),
			ThrottleWriteIOPSDevice: []specs.LinuxThrottleDevice{throttle(8, 16, 7)}},
		Unified: map[string]string{"memory.high": "60M"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"cpu.weight": "39", "cpu.max": "max 100000", "cpuset.cpus": "1", "memory.max": "67108864", "memory.swap.max": "33554432",
		"memory.low": "1048576", "pids.max": "10", "io.weight": "10000", "io.max": "8:16 wiops=7", "memory.high": "60M",
	}
	if diff := cmp.Diff(want, contents(t, h, "", "/p")); diff != "" {
		t.Error(diff)
	}
}

func TestLimitsRefused(t *testing.T) {
	tests := []struct {
		name string
		h    *Host
		res  *specs.LinuxResources
		is   func(error) bool
		word string
	}{
		{"no controller", fake(t, 1, []string{"cpu"}, nil), &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}},
			errdefs.IsFailedPrecondition, `"pids"`},
		{"no file", fake(t, 2, []string{""}, nil), &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(5))}},
			errdefs.IsFailedPrecondition, "memory.max"},
		{"swap without memory", fake(t, 2, []string{""}, nil), &specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: ptr(int64(5))}},
			errdefs.IsInvalidArgument, "memory limit"},
		{"unified out of the folder", fake(t, 2, []string{""}, nil), &specs.LinuxResources{Unified: map[string]string{"../x.y": "1"}},
			errdefs.IsInvalidArgument, "../x.y"},
		{"unified of the core", fake(t, 2, []string{""}, nil), &specs.LinuxResources{Unified: map[string]string{"cgroup.procs": "1"}},
			errdefs.IsInvalidArgument, "cgroup.procs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.h.Set("/p", tt.res)
			if !tt.is(err) || !strings.Contains(err.Error(), tt.word) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAccessErrorNamesController(t *testing.T) {
	err := access("memory", "/x", &os.PathError{Op: "mkdir", Path: "/x", Err: erofs})
	var ae *AccessError
	if !errors.As(err, &ae) || ae.Controller != "memory" || !errdefs.IsPermissionDenied(err) || ae.Hint() == "" {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), `"memory"`) {
		t.Errorf("%v does not name the controller", err)
	}
}

func TestDelegate(t *testing.T) {
	h := fake(t, 2, []string{""}, map[string]string{
		"cgroup.controllers": "cpu memory pids\n", "cgroup.subtree_control": "",
		"a/cgroup.subtree_control": "", "a/b/cgroup.subtree_control": "",
	})
	if err := h.Create(t.Context(), "/a/b", nil); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/", "/a", "/a/b"} {
		got, _ := readString(filepath.Join(h.mounts[""], dir, "cgroup.subtree_control"))
		if got != "+cpu +memory +pids" {
			t.Errorf("%s: %q", dir, got)
		}
	}
}

func TestStatsVersion1(t *testing.T) {
	h := fake(t, 1, strings.Fields("cpu cpuacct memory pids blkio freezer hugetlb"), map[string]string{
		"freezer/p/freezer.state":                  "THAWED\n",
		"cpuacct/p/cpuacct.usage":                  "1234567\n",
		"cpuacct/p/cpuacct.stat":                   "user 3\nsystem 4\n",
		"cpu/p/cpu.stat":                           "nr_periods 10\nnr_throttled 2\nthrottled_time 500\n",
		"memory/p/memory.usage_in_bytes":           "1000\n",
		"memory/p/memory.stat":                     "rss 1\nhierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 9223372036854771712\ntotal_rss 300\ntotal_cache 600\ntotal_inactive_file 200\ntotal_pgmajfault 9\npgfault 4\n",
		"memory/p/memory.failcnt":                  "6\n",
		"hugetlb/p/hugetlb.2MB.usage_in_bytes":     "4096\n",
		"hugetlb/p/hugetlb.2MB.max_usage_in_bytes": "8192\n",
		"memory/p/memory.oom_control":              "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
		"pids/p/pids.current":                      "4\n",
		"pids/p/pids.max":                          "max\n",
		"blkio/p/blkio.throttle.io_service_bytes":  "8:0 Read 100\n8:0 Write 50\n8:0 Total 150\n8:16 Read 1\nTotal 151\n",
	})
	h.hugePages = []string{"2MB"}
	s, err := h.Stats("/p")
	if err != nil {
		t.Fatal(err)
	}
	want := Stats{
		CPU:    CPUStats{Usage: 1234567, User: 30_000_000, System: 40_000_000, Throttled: 500, Periods: 10, ThrottledPeriods: 2},
		Memory: MemoryStats{Usage: 1000, WorkingSet: 800, RSS: 300, Cache: 600, InactiveFile: 200, MajorPageFaults: 9, OwnPageFaults: 4, OOMKills: 3, Failures: 6},
		Pids:   PidStats{Current: 4},
		IO: IOStats{ReadBytes: 101, WriteBytes: 50, Devices: []DeviceStats{
			{Device: "8:0", ReadBytes: 100, WriteBytes: 50}, {Device: "8:16", ReadBytes: 1},
		}},
		Huge: []HugeStats{{Size: "2MB", Usage: 4096, Max: 8192}},
	}
	s.Time = want.Time
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if _, err := h.Stats("/absent"); !errdefs.IsNotFound(err) {
		t.Errorf("absent: %v", err)
	}
}

func TestStatsVersion2(t *testing.T) {
	h := fake(t, 2, []string{""}, map[string]string{
		"p/cpu.stat":            "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 1\nthrottled_usec 7\n",
		"p/memory.current":      "1000\n",
		"p/memory.max":          "4096\n",
		"p/memory.stat":         "anon 300\nfile 600\ninactive_file 2000\npgfault 8\n",
		"p/memory.events":       "low 0\nmax 2\noom 4\noom_kill 1\n",
		"p/cpu.pressure":        "some avg10=1.50 avg60=0.25 avg300=0.00 total=4\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"p/memory.pressure":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=2.00 total=1\n",
		"p/memory.swap.current": "10\n",
		"p/memory.swap.max":     "max\n",
		"p/pids.current":        "4\n",
		"p/pids.max":            "9\n",
		"p/io.stat":             "8:0 rbytes=100 wbytes=50 rios=1 wios=2 dbytes=0\n8:16 rbytes=1\n",
	})
	s, err := h.Stats("/p")
	if err != nil {
		t.Fatal(err)
	}
	want := Stats{
		CPU:    CPUStats{Usage: 5000, User: 3000, System: 2000, Throttled: 7000, Periods: 1, ThrottledPeriods: 1},
		Memory: MemoryStats{Usage: 1000, Limit: 4096, RSS: 300, Cache: 600, Swap: 10, PageFaults: 8, OwnPageFaults: 8, OOMKills: 1, InactiveFile: 2000, Failures: 2},
		Pids:   PidStats{Current: 4, Limit: 9},
		IO: IOStats{ReadBytes: 101, WriteBytes: 50, ReadOps: 1, WriteOps: 2, Devices: []DeviceStats{
			{Device: "8:0", ReadBytes: 100, WriteBytes: 50, ReadOps: 1, WriteOps: 2}, {Device: "8:16", ReadBytes: 1},
		}},
		Pressure: &PressureStats{CPU: Pressure{Some: Stall{Total: 4000, Avg10: 1.5, Avg60: 0.25}}, Memory: Pressure{Full: Stall{Total: 1000, Avg300: 2}}},
	}
	s.Time = want.Time
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

func TestMonitorPlacement(t *testing.T) {
	v2 := fake(t, 2, []string{""}, nil)
	p := v2.MonitorPlacement("/davit")
	if p.Into == nil || p.Place != nil {
		t.Fatalf("version 2: %+v", p)
	}
	into := ""
	var attr syscall.SysProcAttr
	err := p.Start(&attr, func() (err error) {
		into, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", attr.CgroupFD))
		return err
	})
	if err != nil || !attr.UseCgroupFD || into != v2.dir("", "/davit/monitors") {
		t.Fatalf("version 2: into %q, %v", into, err)
	}
	if err := p.Move(42); err != nil {
		t.Errorf("version 2: %v", err)
	}
	if err := v2.Prune("/davit"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(v2.dir("", "/davit")); !os.IsNotExist(err) {
		t.Errorf("Prune left the cgroup: %v", err)
	}
	v1 := fake(t, 1, []string{"memory", "name=systemd"}, map[string]string{"name=systemd/davit/monitors/cgroup.procs": ""})
	v1.own = map[string]string{"name=systemd": "/", "memory": "/x"}
	if p = v1.MonitorPlacement("/davit"); p.Place != nil || p.Into != nil {
		t.Errorf("version 1 without systemd: %+v", p)
	}
	started := false
	attr = syscall.SysProcAttr{}
	if err := p.Start(&attr, func() error { started = true; return nil }); err != nil || !started || attr.UseCgroupFD || p.Move(42) != nil {
		t.Errorf("version 1 without systemd: started %t with %+v, %v", started, attr, err)
	}
	v1.own["name=systemd"] = "/user.slice/session-1.scope"
	if p = v1.MonitorPlacement("/davit"); p.Place == nil {
		t.Fatalf("version 1 in a session: %+v", p)
	}
	if err := p.Move(42); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, v1, "name=systemd", "/davit/monitors"); got["cgroup.procs"] != "42" {
		t.Errorf("got %v", got)
	}
	if _, err := os.Lstat(v1.dir("memory", "/davit")); !os.IsNotExist(err) {
		t.Error("it was placed in the memory hierarchy, too")
	}
}

// The monitors' cgroup is pruned while a process is about to be put into it.
func TestMonitorPlacementPruned(t *testing.T) {
	gone := &os.PathError{Op: "fork/exec", Path: "conmon", Err: errNoDevice} // as clone3(2) has it
	absent := &os.PathError{Op: "fork/exec", Path: "conmon", Err: os.ErrNotExist}
	for _, tt := range []struct {
		name  string
		fails int
		with  error
		want  error
		tries int
	}{
		{name: "it is made anew", fails: 3, with: gone, tries: 4},
		{name: "not for ever", fails: 1 << 30, with: gone, want: errNoDevice, tries: placeRounds},
		{name: "no such program", fails: 1, with: absent, want: os.ErrNotExist, tries: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := fake(t, 2, []string{""}, nil)
			tries := 0
			err := h.MonitorPlacement("/davit").Into(func(dir *os.File) error {
				if _, err := os.Lstat(dir.Name()); err != nil {
					t.Fatal(err)
				}
				if tries++; tries > tt.fails {
					return nil
				}
				if err := h.Prune("/davit"); err != nil {
					t.Fatal(err)
				}
				return tt.with
			})
			if !errors.Is(err, tt.want) || tries != tt.tries {
				t.Errorf("%v after %d tries, want %v after %d", err, tries, tt.want, tt.tries)
			}
		})
	}
	t.Run("version 1", func(t *testing.T) {
		h := fake(t, 1, []string{"name=systemd"}, nil)
		h.own = map[string]string{"name=systemd": "/user.slice/session-1.scope"}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // a cgroup has its files, once it is whole
			for ctx.Err() == nil && os.WriteFile(filepath.Join(h.dir("name=systemd", "/davit/monitors"), "cgroup.procs"), nil, 0o600) != nil {
			}
		})
		if err := h.MonitorPlacement("/davit").Move(42); err != nil {
			t.Error(err)
		}
		stop()
		wg.Wait()
	})
}
