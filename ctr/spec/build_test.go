package spec

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func base() Config {
	return Config{Rootfs: "/r", Process: shell(), Host: testHost(1), Security: Security{Seccomp: SeccompUnconfined}}
}

func TestBuildRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no command", func(c *Config) { c.Process.Args = nil }, "the command to run is empty"},
		{"relative root", func(c *Config) { c.Rootfs = "r" }, `root filesystem "r" is not an absolute path`},
		{"relative cwd", func(c *Config) { c.Process.Cwd = "" }, `working directory "" is not an absolute path`},
		{"hostname", func(c *Config) { c.Hostname = "a\nb" }, `hostname "a\nb" has control characters`},
		{"init without binary", func(c *Config) { c.Process.Init = true }, "an init process is asked for, but there is no init binary"},
		{"init in the pod's pid", func(c *Config) {
			c.Process.Init, c.Host.Init = true, "/i"
			c.Namespaces.PID = Namespace{Mode: ModePod, Path: "/proc/1/ns/pid"}
		}, "an init process needs a PID namespace of the container's own"},
		{"namespace path", func(c *Config) { c.Namespaces.Network = Namespace{Mode: ModePod} }, `path "" of the network namespace is not an absolute path`},
		{"namespace mode", func(c *Config) { c.Namespaces.IPC.Mode = "shareable" }, `mode "shareable" of the ipc namespace is unknown: give private, host, pod or path`},
		{"user mappings", func(c *Config) { c.Namespaces.User.Mode = ModePrivate }, "a user namespace needs mappings of users and groups"},
		{"capability", func(c *Config) { c.Security.Caps.Add = []string{"FLY"} }, `unknown capability "FLY": give one of capabilities(7), such as NET_ADMIN, or ALL`},
		{"capability not held", func(c *Config) { c.Security.Caps.Add = []string{"SYS_RESOURCE"} }, "capability CAP_SYS_RESOURCE cannot be added: davit itself does not hold it"},
		{"all and none", func(c *Config) {
			c.Security.Caps = Capabilities{Add: []string{"ALL"}, Drop: []string{"all"}}
		}, "all capabilities cannot be both added and dropped"},
		{"seccomp", func(c *Config) { c.Security.Seccomp = "/etc/profile.json" }, "seccomp profile is not valid: invalid character '/' looking for beginning of value"},
		{"empty seccomp", func(c *Config) { c.Security.Seccomp = "{}" }, "seccomp profile has no defaultAction"},
		{"unknown seccomp action", func(c *Config) { c.Security.Seccomp = `{"defaultAction":"SCMP_ACT_SMILE"}` }, `seccomp profile's defaultAction "SCMP_ACT_SMILE" is unknown`},
		{"mask", func(c *Config) { c.Security.Paths.Mask = []string{"etc"} }, `path to mask "etc" is not an absolute path`},
		{"unmask", func(c *Config) { c.Security.Paths.Unmask = []string{"proc"} }, `path to unmask "proc" is not an absolute path or pattern, nor ALL`},
		{"root mount", func(c *Config) { c.Mounts = []Mount{{Type: MountTmpfs, Destination: "/x/.."}} }, "mount destination is /: the root of a container cannot be mounted over"},
		{"proc", func(c *Config) { c.Mounts = []Mount{{Type: MountBind, Source: "/tmp", Destination: "/proc"}} }, "nothing can be mounted over /proc of a container"},
		{"below proc", func(c *Config) {
			c.Mounts = []Mount{{Type: MountBind, Source: "/tmp", Destination: "/tmp/../proc/self/attr"}}
		}, "nothing can be mounted over /proc/self/attr of a container"},
		{"engine's below proc", func(c *Config) { c.Host.Mounts = []Mount{{Type: MountTmpfs, Destination: "/proc/sys"}} }, "nothing can be mounted over /proc/sys of a container"},
		{"mount type", func(c *Config) { c.Mounts = []Mount{{Type: "proc", Source: "proc", Destination: "/p"}} }, `mount type "proc" is unknown: give bind, tmpfs, volume or image`},
		{"unresolved volume", func(c *Config) { c.Mounts = []Mount{{Type: MountVolume, Source: "v", Destination: "/v"}} }, `source "v" of the mount at "/v" is not an absolute path`},
		{"twice", func(c *Config) {
			c.Mounts = []Mount{{Type: MountTmpfs, Destination: "/a"}, {Type: MountTmpfs, Destination: "/a/"}}
		}, `two mounts have the same destination "/a"`},
		{"over init", func(c *Config) {
			c.Process.Init, c.Host.Init = true, "/i"
			c.Mounts = []Mount{{Type: MountTmpfs, Destination: initPath}}
		}, `a mount at "/run/davit-init" is in the way of the init binary`},
		{"control characters", func(c *Config) { c.Mounts = []Mount{{Type: MountTmpfs, Destination: "/a\n"}} }, `mount destination "/a\n" has control characters`},
		{"device access", func(c *Config) { c.Devices = []Device{{HostPath: "/dev/x", Type: "c", Access: "rx"}} }, `device permissions "rx" are not of r, w and m, each at most once`},
		{"not a device", func(c *Config) { c.Devices = []Device{{HostPath: "/dev/x"}} }, `device "/dev/x" is neither a character nor a block device`},
		{"sysctl of the host", func(c *Config) {
			c.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"}
			c.Namespaces.Network.Mode = ModeHost
		}, "sysctl net.ipv4.ip_forward cannot be set: the container shares the host's network namespace"},
		{"memory", func(c *Config) { c.Resources.Memory = Memory{Limit: 10, Swap: 5} }, "memory and swap limit 5 is below the memory limit 10: it counts both together"},
		{"unified", func(c *Config) { c.Resources.Unified = map[string]string{"../x.y": ""} }, `"../x.y" is not the name of a cgroup file: give one such as memory.high`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := base()
			test.change(&c)
			_, err := Build(c)
			checkInvalid(t, err, test.want)
		})
	}
}

// destinations of the mounts of a built spec, in their order.
func destinations(t *testing.T, c Config) map[string]specs.Mount {
	t.Helper()
	s, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	byDest := make(map[string]specs.Mount)
	for i, m := range s.Mounts {
		if _, ok := byDest[m.Destination]; ok {
			t.Errorf("two mounts at %s", m.Destination)
		}
		byDest[m.Destination] = m
		for _, earlier := range s.Mounts[:i] {
			if under(earlier.Destination, m.Destination) {
				t.Errorf("%s is mounted before %s and hidden by it", earlier.Destination, m.Destination)
			}
		}
	}
	return byDest
}

func TestMountsOverride(t *testing.T) {
	c := base()
	c.Host.Mounts = []Mount{
		{Type: MountBind, Source: "/pod/shm", Destination: "/dev/shm", Options: []string{"bind"}},
		{Type: MountBind, Source: "/pod/hosts", Destination: "/etc/hosts", Options: []string{"bind"}},
	}
	if got := destinations(t, c)["/dev/shm"]; got.Source != "/pod/shm" {
		t.Errorf("the pod's /dev/shm lost against the default: %+v", got)
	}
	c.Mounts = []Mount{
		{Type: MountBind, Source: "/mine/shm", Destination: "/dev/shm/"},
		{Type: MountBind, Source: "/mine/hosts", Destination: "/etc/hosts"},
		{Type: MountBind, Source: "/srv/a/b", Destination: "/a/b"},
		{Type: MountBind, Source: "/srv/a", Destination: "/a"},
	}
	got := destinations(t, c)
	if got["/dev/shm"].Source != "/mine/shm" || got["/etc/hosts"].Source != "/mine/hosts" {
		t.Errorf("a user's mount lost: %+v", got)
	}
	c.Mounts = []Mount{{Type: MountBind, Source: "/dev", Destination: "/dev"}, {Type: MountBind, Source: "/sys", Destination: "/sys"}}
	got = destinations(t, c)
	for _, dest := range []string{"/dev/pts", "/dev/shm", "/sys/fs/cgroup"} {
		if _, ok := got[dest]; ok {
			t.Errorf("%s is mounted into a /dev or /sys of the user's", dest)
		}
	}
	c.Mounts = []Mount{{Type: MountBind, Source: "/proc", Destination: "/proc"}, {Type: MountBind, Source: "/lxcfs/meminfo", Destination: "/proc/meminfo"}}
	if got = destinations(t, c); got["/proc"].Type != MountBind {
		t.Errorf("the host's /proc was not bound: %+v", got["/proc"])
	}
}

func TestTmpfsDefaults(t *testing.T) {
	tests := []struct{ in, want []string }{
		{nil, []string{"noexec", "nosuid", "nodev", "tmpcopyup"}},
		{[]string{"exec", "size=1m"}, []string{"exec", "size=1m", "nosuid", "nodev", "tmpcopyup"}},
		{[]string{"notmpcopyup", "dev", "suid", "noexec"}, []string{"dev", "suid", "noexec"}},
		{[]string{"tmpcopyup"}, []string{"tmpcopyup", "noexec", "nosuid", "nodev"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, tmpfsOptions(test.in)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.in, diff)
		}
	}
}

func TestCapabilities(t *testing.T) {
	held := testHost(1).Capabilities
	tests := []struct {
		name string
		caps Capabilities
		held []string
		want []string
	}{
		{"default", Capabilities{}, held, CLICapabilities()},
		{"cri", Capabilities{Base: CRICapabilities()}, held, CRICapabilities()},
		{"none", Capabilities{Base: []string{}}, held, nil},
		{"drop all, add one", Capabilities{Drop: []string{"ALL"}, Add: []string{"net_raw"}}, held, []string{"CAP_NET_RAW"}},
		{"drop wins", Capabilities{Base: []string{}, Drop: []string{"kill"}, Add: []string{"KILL", "chown"}}, held, []string{"CAP_CHOWN"}},
		{"all is what is held", Capabilities{Add: []string{"all"}}, held, held},
		{"all but one", Capabilities{Add: []string{"cap_all"}, Drop: []string{"SYS_ADMIN"}}, []string{"CAP_CHOWN", "CAP_SYS_ADMIN"}, []string{"CAP_CHOWN"}},
		{"default that is not held", Capabilities{}, []string{"CAP_CHOWN"}, []string{"CAP_CHOWN"}},
		{"unknown", Capabilities{Base: []string{}, Add: []string{"SYS_RESOURCE", "CAP_SYS_RESOURCE"}}, nil, []string{"CAP_SYS_RESOURCE"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.caps.bounding(test.held)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if !slices.Equal(held, testHost(1).Capabilities) {
		t.Error("the caller's list was changed")
	}
	if all := AllCapabilities(); all[0] != "CAP_CHOWN" || all[21] != "CAP_SYS_ADMIN" || all[40] != "CAP_CHECKPOINT_RESTORE" {
		t.Errorf("capabilities are not in the order of the kernel's numbers: %v", all)
	}
}

// TestEmptyInheritable: CVE-2022-29162 and its kin.
func TestEmptyInheritable(t *testing.T) {
	for _, privileged := range []bool{false, true} {
		for _, uid := range []uint32{0, 1000} {
			c := base()
			c.Security.Privileged, c.Process.User.UID = privileged, uid
			s, err := Build(c)
			if err != nil {
				t.Fatal(err)
			}
			caps := s.Process.Capabilities
			if len(caps.Inheritable)+len(caps.Ambient) > 0 {
				t.Errorf("privileged %v uid %d: inheritable %v ambient %v", privileged, uid, caps.Inheritable, caps.Ambient)
			}
			if uid != 0 && len(caps.Effective)+len(caps.Permitted) > 0 {
				t.Errorf("privileged %v uid %d: effective %v permitted %v", privileged, uid, caps.Effective, caps.Permitted)
			}
		}
	}
}

func TestMasks(t *testing.T) {
	tests := []struct {
		name             string
		masks            PathMasks
		has, hasNot      []string
		noMasked, noRead bool
	}{
		{name: "default", has: []string{"/proc/kcore", "/proc/interrupts", "/sys/devices/virtual/powercap", "/host"}},
		{name: "none", masks: PathMasks{Masked: []string{}, Readonly: []string{}}, noMasked: true, noRead: true},
		{name: "added", masks: PathMasks{Masked: []string{"/x/../y"}}, has: []string{"/y", "/proc/kcore", "/host"}},
		{name: "all unmasked", masks: PathMasks{Unmask: []string{"all"}}, noMasked: true, noRead: true},
		{name: "pattern", masks: PathMasks{Unmask: []string{"/proc/*"}}, has: []string{"/sys/firmware"}, hasNot: []string{"/proc/kcore"}, noRead: true},
		{name: "masked though unmasked", masks: PathMasks{Unmask: []string{"ALL"}, Mask: []string{"/z"}}, has: []string{"/z"}, hasNot: []string{"/proc/kcore"}, noRead: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			masked, readonly, err := test.masks.resolve([]string{"/host"})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range test.has {
				if !slices.Contains(masked, p) {
					t.Errorf("%s is not masked in %v", p, masked)
				}
			}
			for _, p := range test.hasNot {
				if slices.Contains(masked, p) {
					t.Errorf("%s is masked", p)
				}
			}
			if test.noMasked != (len(masked) == 0) || test.noRead != (len(readonly) == 0) {
				t.Errorf("masked %v, read-only %v", masked, readonly)
			}
		})
	}
}

// TestFilter: what the default profile lets a socket be.
func TestFilter(t *testing.T) {
	const afALG, afVSOCK, afUNIX, afINET = 38, 40, 1, 2
	allowed := func(f *specs.LinuxSeccomp, domain uint64) bool {
		for _, call := range f.Syscalls {
			if !slices.Contains(call.Names, "socket") || call.Action != specs.ActAllow {
				continue
			}
			ok := true
			for _, arg := range call.Args {
				switch arg.Op {
				case specs.OpEqualTo:
					ok = ok && domain == arg.Value
				case specs.OpLessThan:
					ok = ok && domain < arg.Value
				default:
					t.Fatalf("operator %s is new to this test", arg.Op)
				}
			}
			if ok {
				return true
			}
		}
		return false
	}
	calls := func(f *specs.LinuxSeccomp, name string) bool {
		return slices.ContainsFunc(f.Syscalls, func(c specs.LinuxSyscall) bool {
			return c.Action == specs.ActAllow && slices.Contains(c.Names, name)
		})
	}
	f, err := Filter("", CLICapabilities())
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[uint64]bool{afALG: false, afVSOCK: false, afUNIX: true, afINET: true} {
		if allowed(f, domain) != want {
			t.Errorf("socket of domain %d: allowed is %v, want %v", domain, !want, want)
		}
	}
	for name, want := range map[string]bool{"io_uring_setup": false, "mount": false, "bpf": false, "read": true} {
		if calls(f, name) != want {
			t.Errorf("%s: allowed is %v, want %v", name, !want, want)
		}
	}
	admin, err := Filter(SeccompDefault, []string{"CAP_SYS_ADMIN"})
	if err != nil {
		t.Fatal(err)
	}
	if !calls(admin, "mount") {
		t.Error("mount is not allowed with CAP_SYS_ADMIN")
	}
	again, err := Filter("", CLICapabilities())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, again); diff != "" {
		t.Errorf("a filter is not the same twice:\n%s", diff)
	}
	own, err := Filter(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mount"],"action":"SCMP_ACT_ERRNO"}]}`, nil)
	if err != nil || own.DefaultAction != specs.ActAllow || len(own.Syscalls) != 1 {
		t.Errorf("own profile: %+v, %v", own, err)
	}
	if none, err := Filter(SeccompUnconfined, nil); none != nil || err != nil {
		t.Errorf("unconfined: %v, %v", none, err)
	}
}

func TestPrivilegedSeccomp(t *testing.T) {
	for profile, want := range map[string]bool{"": false, SeccompDefault: false, `{"defaultAction":"SCMP_ACT_ALLOW"}`: true} {
		c := base()
		c.Security = Security{Privileged: true, Seccomp: profile}
		s, err := Build(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Linux.Seccomp != nil; got != want {
			t.Errorf("profile %q: filtered is %v, want %v", profile, got, want)
		}
	}
}

// TestX32: rules for calls that the kernel does not have are left out of the
// default filter, and of no other.
func TestX32(t *testing.T) {
	own := `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X32"],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`
	whole, err := Filter("", CLICapabilities())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		profile string
		none    bool
		want    bool
	}{
		{"", false, slices.Contains(whole.Architectures, specs.ArchX32)},
		{"", true, false},
		{SeccompDefault, true, false},
		{own, true, true},
	} {
		c := base()
		c.Host.NoX32, c.Security.Seccomp = tt.none, tt.profile
		s, err := Build(c)
		if err != nil {
			t.Fatal(err)
		}
		filter := s.Linux.Seccomp
		if got := slices.Contains(filter.Architectures, specs.ArchX32); got != tt.want {
			t.Errorf("profile %q on a kernel without x32 (%v): filters x32 is %v, want %v", tt.profile, tt.none, got, tt.want)
		}
		if runtime.GOARCH == "amd64" && !slices.Contains(filter.Architectures, specs.ArchX86_64) {
			t.Errorf("profile %q filters %v", tt.profile, filter.Architectures)
		}
		if tt.profile == "" && len(filter.Syscalls) != len(whole.Syscalls) {
			t.Errorf("%d rules, want %d", len(filter.Syscalls), len(whole.Syscalls))
		}
	}
}

func TestClamp(t *testing.T) {
	limits, lowered := ClampRlimits(
		[]Rlimit{{"RLIMIT_NOFILE", 1024, Unlimited}, {"RLIMIT_CORE", Unlimited, Unlimited}, {"RLIMIT_NPROC", 5, 10}},
		map[string]uint64{"RLIMIT_NOFILE": 512, "RLIMIT_NPROC": 100})
	want := []Rlimit{{"RLIMIT_NOFILE", 512, 512}, {"RLIMIT_CORE", Unlimited, Unlimited}, {"RLIMIT_NPROC", 5, 10}}
	if diff := cmp.Diff(want, limits); diff != "" {
		t.Error(diff)
	}
	if len(lowered) != 1 || lowered[0] != "RLIMIT_NOFILE lowered from unlimited to 512, the most that may be set here" {
		t.Errorf("lowered: %q", lowered)
	}
	for _, test := range []struct {
		want, current int
		capable       bool
		adj           int
		raised        bool
	}{{-998, 0, false, 0, true}, {-998, 0, true, -998, false}, {500, 0, false, 500, false}, {5000, 0, false, 1000, false}, {-1, -5, false, -1, false}} {
		if adj, raised := ClampOOMScoreAdj(test.want, test.current, test.capable); adj != test.adj || raised != test.raised {
			t.Errorf("ClampOOMScoreAdj(%d, %d, %v) = %d, %v", test.want, test.current, test.capable, adj, raised)
		}
	}
}

func TestResourcesCheck(t *testing.T) {
	bad := map[string]Resources{
		"cpus and quota":   {CPU: CPU{NanoCPUs: 1e9, Quota: 1000}},
		"tiny cpus":        {CPU: CPU{NanoCPUs: 1e6}},
		"period":           {CPU: CPU{Period: 10}},
		"quota":            {CPU: CPU{Quota: -2}},
		"cpuset":           {CPU: CPU{Cpus: "0-"}},
		"mems":             {CPU: CPU{Mems: "3-1"}},
		"cpuset path":      {CPU: CPU{Cpus: "../x"}},
		"swappiness":       {Memory: Memory{Swappiness: new(uint64(101))}},
		"swap alone":       {Memory: Memory{Swap: 1 << 20}},
		"reservation":      {Memory: Memory{Limit: 1, Reservation: 2}},
		"negative limit":   {Memory: Memory{Limit: -1}},
		"weight":           {Blkio: 5},
		"pids":             {Pids: -2},
		"shm":              {ShmSize: -1},
		"unified newline":  {Unified: map[string]string{"a.b\n": ""}},
		"unified bare":     {Unified: map[string]string{"memory": ""}},
		"negative reserve": {Memory: Memory{Reservation: -1}},
	}
	for name, r := range bad {
		if err := r.Check(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := Resources{
		Memory: Memory{Limit: 1 << 20, Swap: -1, Swappiness: new(uint64(0))},
		CPU:    CPU{Quota: -1, Period: 1000, Cpus: "0-3,7", Mems: "0"}, Blkio: 10, Pids: -1,
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	if got := (Resources{Memory: Memory{Limit: 5}}).WithDefaultSwap().Memory.Swap; got != 10 {
		t.Errorf("default swap %d", got)
	}
	if got := (Resources{Memory: Memory{Limit: 5, Swap: -1}}).WithDefaultSwap().Memory.Swap; got != -1 {
		t.Errorf("default swap took a user's: %d", got)
	}
	if l := (Resources{}).Linux(); l.Memory != nil || l.CPU != nil || l.Pids != nil || l.BlockIO != nil {
		t.Errorf("unset limits are written: %+v", l)
	}
	if l := (Resources{CPU: CPU{NanoCPUs: math.MaxInt32}}).Linux(); *l.CPU.Quota != 214748 || *l.CPU.Period != defaultPeriod {
		t.Errorf("cpus: %+v", l.CPU)
	}
}
