package spec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden specs anew")

// host is what the tests' machine gives.
func testHost(version int) Host {
	return Host{CgroupVersion: version, Capabilities: []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
		"CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT",
	}}
}

func shell() Process {
	return Process{Args: []string{"sh"}, Env: []string{"PATH=/bin"}, Cwd: "/"}
}

func goldenConfigs() map[string]Config {
	cli := Config{
		Rootfs: "/r", Process: shell(), Hostname: "box", CgroupsPath: "/davit/p/c", Host: testHost(1),
	}
	cri := Config{
		Rootfs: "/r", CgroupsPath: "/kubepods/p/c", Host: testHost(2),
		Process: Process{
			Args: []string{"/server"}, Env: []string{"PATH=/bin", "HOSTNAME=web-0"}, Cwd: "/srv",
			User: User{UID: 1000, GID: 1000, AdditionalGIDs: []uint32{2000}}, OOMScoreAdj: new(999),
			Rlimits: []Rlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}},
		},
		Namespaces: Namespaces{
			Network: Namespace{Mode: ModePod, Path: "/run/davit/pods/p/net"},
			IPC:     Namespace{Mode: ModePod, Path: "/run/davit/pods/p/ipc"},
			UTS:     Namespace{Mode: ModePod, Path: "/run/davit/pods/p/uts"},
		},
		Hostname:  "web-0",
		Resources: Resources{Memory: Memory{Limit: 64 << 20, Swap: 64 << 20}, CPU: CPU{Shares: 102, Quota: 20000, Period: 100000}, Pids: 100, Unified: map[string]string{"memory.oom.group": "1"}},
		Security: Security{
			Caps: Capabilities{Base: CRICapabilities()}, Seccomp: SeccompUnconfined, NoNewPrivileges: true,
			Paths: PathMasks{Masked: []string{"/proc/kcore", "/proc/own"}, Readonly: []string{"/proc/bus"}},
		},
		Annotations: map[string]string{"io.kubernetes.container.name": "web"},
	}
	cri.Host.Mounts = []Mount{
		{Type: MountBind, Source: "/run/davit/pods/p/shm", Destination: "/dev/shm", Options: []string{"bind", "nosuid", "nodev", "noexec"}},
		{Type: MountBind, Source: "/run/davit/pods/p/hosts", Destination: "/etc/hosts", Options: []string{"bind", "nosuid", "nodev", "noexec"}},
	}
	cri.Mounts = []Mount{{Type: MountBind, Source: "/var/lib/kubelet/v", Destination: "/data", Options: []string{"rbind", "rslave", "ro"}}}

	privileged := cli
	privileged.Security = Security{Privileged: true}
	privileged.Devices = []Device{{HostPath: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: new(uint32(0o20666)), UID: new(uint32(0)), GID: new(uint32(0))}}

	readOnly := cli
	readOnly.Security = Security{ReadOnlyRootfs: true, ReadOnlyTmpfs: true, Seccomp: SeccompUnconfined}
	readOnly.Mounts = []Mount{
		{Type: MountTmpfs, Destination: "/run", Options: []string{"size=1m", "notmpcopyup"}},
		{Type: MountVolume, Source: "/var/lib/davit/volumes/v/_data", Destination: "/var/lib/app", Options: []string{"nosuid"}},
		{Type: MountBind, Source: "/srv/deep", Destination: "/var/lib/app/deep/er"},
	}

	everything := cli
	everything.Process.Init, everything.Host.Init = true, "/usr/bin/catatonit"
	everything.Process.Terminal, everything.Process.ConsoleSize = true, Size{Width: 80, Height: 24}
	everything.Security = Security{
		Seccomp: SeccompUnconfined, AppArmor: "davit-default",
		SELinux: SELinux{ProcessLabel: "system_u:system_r:container_t:s0:c1,c2", MountLabel: "system_u:object_r:container_file_t:s0:c1,c2"},
		Caps:    Capabilities{Add: []string{"net_admin"}, Drop: []string{"kill", "CAP_CHOWN"}},
		Paths:   PathMasks{Mask: []string{"/etc/secret"}, Unmask: []string{"/proc/k*", "/sys/firmware"}},
	}
	everything.Host.MaskedPaths = []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}
	everything.Sysctls = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"}
	everything.Namespaces = Namespaces{Cgroup: Namespace{Mode: ModePrivate}}
	everything.Resources = Resources{
		Memory: Memory{Limit: 1 << 20, Reservation: 1 << 19, Swap: -1, Swappiness: new(uint64(0)), DisableOOMKill: true},
		CPU:    CPU{NanoCPUs: 1_500_000_000, Cpus: "0-1", Mems: "0"}, Pids: -1, Blkio: 500, ShmSize: 1 << 20,
		Huge: []HugepageLimit{{PageSize: "2MB", Limit: 4 << 20}},
	}
	everything.Devices = []Device{{HostPath: "/dev/sda", Path: "/dev/xvda", Access: "r", Type: "b", Major: 8, Minor: 0}}
	everything.Mounts = []Mount{{Type: MountBind, Source: "/shared", Destination: "/shared", Options: []string{"rshared"}}}

	userns := cli
	userns.Security.Seccomp = SeccompUnconfined
	userns.Namespaces = Namespaces{
		User: Namespace{Mode: ModePrivate}, PID: Namespace{Mode: ModeHost}, IPC: Namespace{Mode: ModeHost}, Network: Namespace{Mode: ModeHost},
		UIDMappings: []IDMapping{{HostID: 100000, Size: 65536}}, GIDMappings: []IDMapping{{HostID: 100000, Size: 65536}},
	}
	return map[string]Config{
		"cli": cli, "cri": cri, "privileged": privileged, "readonly": readOnly, "everything": everything, "userns-host": userns,
	}
}

func TestGolden(t *testing.T) {
	for name, config := range goldenConfigs() {
		t.Run(name, func(t *testing.T) {
			before, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			built, err := Build(config)
			if err != nil {
				t.Fatal(err)
			}
			if after, _ := json.Marshal(config); string(after) != string(before) {
				t.Errorf("Build changed its argument:\n%s", cmp.Diff(string(before), string(after)))
			}
			// The profile's list of calls is the library's, and long.
			if s := built.Linux.Seccomp; s != nil {
				s.Syscalls = nil
			}
			got, err := json.MarshalIndent(built, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("differs from %s (-want +got):\n%s", file, diff)
			}
			// What a record keeps builds the same.
			var kept Config
			if err := json.Unmarshal(before, &kept); err != nil {
				t.Fatal(err)
			}
			again, err := Build(kept)
			if err != nil {
				t.Fatal(err)
			}
			if again.Linux.Seccomp != nil {
				again.Linux.Seccomp.Syscalls = nil
			}
			if diff := cmp.Diff(built, again); diff != "" {
				t.Errorf("built from JSON differs:\n%s", diff)
			}
		})
	}
}
