package doctor

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sound are the facts of a host that lacks nothing.
func sound() Facts {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	return Facts{
		Kernel:  "6.18.5-amd64",
		Cgroups: Cgroups{Version: 2, Controllers: []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}, Manager: "systemd", Systemd: true},
		Storage: Storage{Driver: "overlay", Root: "/var/lib/containers/storage"},
		Programs: []Program{
			{Name: "runc", Role: roleRuntime, Path: "/usr/sbin/runc", Version: "1.1.5+ds1", Needed: true},
			{Name: "crun", Role: roleRuntime, Path: "/usr/bin/crun", Version: "1.8.1"},
			{Name: "conmon", Role: roleMonitor, Path: "/usr/bin/conmon", Version: "2.1.6", Needed: true},
			{Name: "catatonit", Role: roleInit, Path: "/usr/bin/catatonit", Version: "0.1.7"},
		},
		Network: Network{
			Plugins: []Plugin{{Type: "bridge", Networks: []string{"davit"}, Path: "/usr/lib/cni/bridge", Versions: []string{"0.4.0", "1.0.0"}}},
			Folder:  "/etc/cni/net.d", Forward: "1", Networks: 1, BridgeNF: "1",
		},
		Limits: Limits{
			InotifyInstances: 1024, InotifyWatches: 500000, PidMax: 4194304, PidsCgroup: 0,
			Files: 1048576, FilesHost: 1 << 40, UserNamespaces: 65536,
		},
		Clock:    Clock{Now: now, Built: now.Add(-time.Hour)},
		Space:    []Space{{For: "space of root", Path: "/var/lib/davit", Free: 50 << 30, Total: 100 << 30, FreeInodes: 90, Inodes: 100}},
		Security: Security{Seccomp: true, LSMs: "lockdown,capability,apparmor", AppArmor: true, AppArmorParser: true},
		Files:    []File{{Name: "policy.json"}, {Name: "registries.conf"}},
		Roots:    []Root{{Path: "/var/lib/davit", Mode: 0o711}, {Path: "/run/davit", Mode: 0o711}},
		Mounts:   Mounts{Shared: true},
	}
}

func TestJudgeSoundHost(t *testing.T) {
	for _, f := range Judge(sound()) {
		if f.Level != OK || f.Fix != "" || f.Found == "" || f.Subject == "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestJudge(t *testing.T) {
	program := func(i int, change func(*Program)) func(*Facts) { return func(f *Facts) { change(&f.Programs[i]) } }
	for _, tt := range []struct {
		name   string
		change func(*Facts)
		want   string // level, subject and what the text and the fix have
	}{
		{"old kernel", func(f *Facts) { f.Kernel = "5.10.0-28" }, "warn kernel ID-mapped"},
		{"ancient kernel", func(f *Facts) { f.Kernel = "3.10.0" }, "fail kernel overlay"},
		{"no cgroups", func(f *Facts) { f.Cgroups = Cgroups{Error: "no cgroup hierarchy is mounted"} }, "fail cgroups mount -t cgroup2"},
		{"memory is off", func(f *Facts) { f.Cgroups.Controllers = []string{"cpu", "pids"} }, "fail cgroups cgroup_enable=memory"},
		{"version 1", func(f *Facts) {
			f.Cgroups.Version = 1
			f.Cgroups.Controllers = []string{"cpu", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids"}
		}, "warn cgroups unified_cgroup_hierarchy"},
		{"version 1, controller not mounted", func(f *Facts) {
			f.Cgroups.Version, f.Cgroups.Controllers = 1, []string{"cpu", "cpuset", "devices", "freezer", "hugetlb", "memory"}
		}, "fail cgroups -o pids cgroup /sys/fs/cgroup/pids"},
		{"version 1 and crun", func(f *Facts) {
			f.Cgroups.Version, f.Cgroups.Controllers = 1, []string{"cpu", "cpuset", "devices", "freezer", "memory", "pids"}
		}, "warn cgroups -o hugetlb"},
		{"no systemd", func(f *Facts) { f.Cgroups.Systemd = false }, "fail cgroup manager cgroupfs"},
		{"store does not open", func(f *Facts) { f.Storage = Storage{Error: "driver not supported"} }, "fail storage modprobe overlay"},
		{"no d_type", func(f *Facts) { f.Storage.NoDType = true }, "fail storage ftype=1"},
		{"vfs", func(f *Facts) { f.Storage.Driver = "vfs" }, "warn storage whole"},
		{"no runtime", program(0, func(p *Program) { p.Path = "" }), "fail runtime runc apt-get install runc"},
		{"other runtime gone", program(1, func(p *Program) { p.Path = "" }), "warn runtime crun not installed"},
		{"runtime hangs", program(0, func(p *Program) { p.Error = "it did not answer --version in 5s" }), "fail runtime runc did not answer"},
		{"old runtime", program(0, func(p *Program) { p.Version = "1.0.3" }), "warn runtime runc 1.1.0"},
		{"no conmon", program(2, func(p *Program) { p.Path = "" }), "fail monitor conmon apt-get install conmon"},
		{"old conmon", program(2, func(p *Program) { p.Version = "2.0.25" }), "warn monitor conmon 2.1.0"},
		{"no init", program(3, func(p *Program) { p.Path = "" }), "warn init catatonit --init"},
		{"plugin gone", func(f *Facts) { f.Network.Plugins[0].Path = "" }, "fail plugin bridge containernetworking-plugins"},
		{"plugin broken", func(f *Facts) { f.Network.Plugins[0].Error = "exec format error" }, "fail plugin bridge exec format"},
		{"old plugin", func(f *Facts) { f.Network.Plugins[0].Versions = []string{"0.3.1"} }, "warn plugin bridge 0.3.1"},
		{"bad conflist", func(f *Facts) { f.Network.Broken = "10-x.conflist: no plugins" }, "warn networks 10-x.conflist"},
		{"no nft", func(f *Facts) { f.Network.Firewall = "operation not supported" }, "fail firewall modprobe nf_tables"},
		{"legacy iptables", func(f *Facts) { f.Network.Legacy = []string{"nat", "filter"} }, "warn firewall iptables-nft"},
		{"no forwarding", func(f *Facts) { f.Network.Forward = "0" }, "warn forwarding ip_forward=1"},
		{"bridged packets pass", func(f *Facts) { f.Network.BridgeNF = "0" }, "warn forwarding bridge-nf-call-iptables=1"},
		{"few instances", func(f *Facts) { f.Limits.InotifyInstances = 64 }, "warn limits max_user_instances"},
		{"few watches", func(f *Facts) { f.Limits.InotifyWatches = 1000 }, "warn limits max_user_watches"},
		{"few pids", func(f *Facts) { f.Limits.PidMax = 1000 }, "warn limits pid_max"},
		{"small cgroup", func(f *Facts) { f.Limits.PidsCgroup = 100 }, "warn limits TasksMax"},
		{"few files", func(f *Facts) { f.Limits.Files = 1024 }, "warn limits LimitNOFILE"},
		{"clock at 1970", func(f *Facts) { f.Clock.Now = time.Unix(100, 0) }, "fail clock not set"},
		{"clock behind", func(f *Facts) { f.Clock.Built = f.Clock.Now.Add(48 * time.Hour) }, "fail clock before davit was installed"},
		{"space is short", func(f *Facts) { f.Space[0].Free = 5 << 30 }, "warn space of root image prune"},
		{"space is out", func(f *Facts) { f.Space[0].Free = 1 << 20 }, "fail space of root space will be short"},
		{"inodes are out", func(f *Facts) { f.Space[0].FreeInodes = 0 }, "fail space of root inodes will be short"},
		{"no seccomp", func(f *Facts) { f.Security.Seccomp = false }, "fail seccomp CONFIG_SECCOMP_FILTER"},
		{"no parser", func(f *Facts) { f.Security.AppArmorParser = false }, "warn security modules apparmor"},
		{"no user namespaces", func(f *Facts) { f.Limits.UserNamespaces = -1 }, "warn user namespaces max_user_namespaces"},
		{"bad policy", func(f *Facts) { f.Files[0].Error = "invalid character" }, "fail policy.json invalid character"},
		{"root is gone", func(f *Facts) { f.Roots[0].Error = "/var/lib/davit: no such file" }, "fail folder no such file"},
		{"others write", func(f *Facts) { f.Roots[0].Mode = 0o777 }, "fail folder chmod 0711"},
		{"others list", func(f *Facts) { f.Roots[0].Mode = 0o755 }, "warn folder chmod 0711"},
		{"somebody's", func(f *Facts) { f.Roots[1].Owner = 1000 }, "fail folder chown root"},
		{"another namespace", func(f *Facts) { f.Mounts.Foreign = 3 }, "fail mount namespace nsenter"},
		{"private mounts", func(f *Facts) { f.Mounts.Shared = false }, "warn mounts make-rshared"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := sound()
			tt.change(&f)
			var bad []Finding
			for _, one := range Judge(f) {
				if one.Level != OK {
					bad = append(bad, one)
				}
			}
			level, rest, _ := strings.Cut(tt.want, " ")
			for _, one := range bad {
				what, ok := strings.CutPrefix(rest, one.Subject+" ")
				if string(one.Level) == level && ok && strings.Contains(one.Found+" "+one.Fix, what) && one.Fix != "" {
					return
				}
			}
			t.Errorf("want %q, found %+v", tt.want, bad)
		})
	}
}

func TestOlder(t *testing.T) {
	for _, tt := range []struct {
		have, want string
		older      bool
	}{
		{"1.1.5+ds1", "1.1.0", false}, {"1.0.3", "1.1.0", true}, {"6.18.5-1", "5.12", false}, {"5.4", "5.12", true}, {"2.1", "2.1.0", true},
	} {
		if got := older(tt.have, tt.want); got != tt.older {
			t.Errorf("older(%q, %q) = %t", tt.have, tt.want, got)
		}
	}
}

func TestRootShared(t *testing.T) {
	const line = "24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n25 24 0:5 / /proc rw - proc proc rw\n"
	if !rootShared(line) || rootShared(strings.ReplaceAll(line, "shared:1 ", "")) {
		t.Error("the propagation of / is not read")
	}
}

func TestVersionIn(t *testing.T) {
	for text, want := range map[string]string{
		"runc version 1.1.5+ds1\ncommit: x": "1.1.5+ds1", "conmon version 2.1.6": "2.1.6", "crun version 1.8.1": "1.8.1", "nothing": "",
	} {
		if diff := cmp.Diff(want, versionIn(text)); diff != "" {
			t.Error(diff)
		}
	}
}
