//go:build rootful

package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/harness"
)

// held reads this process's bounding set.
func held(t *testing.T) []string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	bits, err := strconv.ParseUint(fields(string(status))["CapBnd"], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, name := range AllCapabilities() {
		if bits&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// fields reads "Key:\tvalue" lines.
func fields(text string) map[string]string {
	out := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			out[key] = strings.TrimSpace(value)
		}
	}
	return out
}

// busybox makes a root filesystem of the host's static busybox.
func busybox(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "rootfs")
	for _, dir := range []string{"bin", "etc", "tmp", "run", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("no /bin/busybox (busybox-static) on this machine")
	}
	if err := harness.WriteExecutable(filepath.Join(root, "bin/busybox"), string(data)); err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"sh", "cat", "ls", "id", "touch", "mount", "echo", "hostname", "stat", "head"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// run builds the spec and runs it with a runtime; it returns stdout.
func run(t *testing.T, runtime string, c Config) (string, error) {
	t.Helper()
	path, err := exec.LookPath(runtime)
	if err != nil {
		t.Skipf("no %s on this machine", runtime)
	}
	built, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(built)
	if err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir()
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	id, state := fmt.Sprintf("davit-spec-test-%d", os.Getpid()), t.TempDir()
	cmd := exec.Command(path, "--root", state, "run", "--bundle", bundle, id)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	t.Cleanup(func() { _ = exec.Command(path, "--root", state, "delete", "--force", id).Run() })
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), err
}

func config(t *testing.T, script string) Config {
	host := Host{CgroupVersion: 2, Capabilities: held(t)}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		host.CgroupVersion = 1
	}
	return Config{
		Rootfs: busybox(t), Hostname: "box", Host: host, CgroupsPath: fmt.Sprintf("/davit-spec-test-%d", os.Getpid()),
		Process: Process{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/"},
	}
}

func mask(names []string) string {
	all, bits := AllCapabilities(), uint64(0)
	for _, name := range names {
		bits |= 1 << slices.Index(all, name)
	}
	return fmt.Sprintf("%016x", bits)
}

// TestConfined is S8: what /proc/self/status says in a container.
func TestConfined(t *testing.T) {
	none := strings.Repeat("0", 16)
	tests := []struct {
		name   string
		change func(*Config)
		want   map[string]string
	}{
		{"default", func(*Config) {}, map[string]string{
			"CapInh": none, "CapPrm": mask(CLICapabilities()), "CapEff": mask(CLICapabilities()), "CapBnd": mask(CLICapabilities()),
			"CapAmb": none, "NoNewPrivs": "0", "Seccomp": "2", "Umask": "0022",
		}},
		{"cri", func(c *Config) {
			c.Security.Caps.Base, c.Security.Seccomp, c.Security.NoNewPrivileges = CRICapabilities(), SeccompUnconfined, true
		}, map[string]string{
			"CapInh": none, "CapPrm": mask(CRICapabilities()), "CapEff": mask(CRICapabilities()), "CapBnd": mask(CRICapabilities()),
			"CapAmb": none, "NoNewPrivs": "1", "Seccomp": "0",
		}},
		{"user", func(c *Config) { c.Process.User = User{UID: 1000, GID: 1000} }, map[string]string{
			"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": mask(CLICapabilities()), "CapAmb": none, "Seccomp": "2",
			"Uid": "1000\t1000\t1000\t1000", "Gid": "1000\t1000\t1000\t1000", "Groups": "1000",
		}},
		{"privileged", func(c *Config) { c.Security.Privileged = true }, map[string]string{
			"CapInh": none, "CapEff": mask(held(t)), "CapBnd": mask(held(t)), "CapAmb": none, "Seccomp": "0",
		}},
		{"drop all", func(c *Config) { c.Security.Caps.Drop = []string{"ALL"} }, map[string]string{
			"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
		}},
	}
	for _, runtime := range []string{"runc", "crun"} {
		for _, test := range tests {
			t.Run(runtime+"/"+test.name, func(t *testing.T) {
				c := config(t, "cat /proc/self/status")
				test.change(&c)
				out, err := run(t, runtime, c)
				if err != nil {
					t.Fatal(err)
				}
				all, got := fields(out), make(map[string]string)
				for key := range test.want {
					got[key] = all[key]
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestInside looks at the default spec from within.
func TestInside(t *testing.T) {
	tests := []struct {
		name, script, want string
		change             func(*Config)
	}{
		{name: "hostname", script: "hostname", want: "box\n"},
		{name: "masked file", script: "cat /proc/interrupts /proc/kcore | head -c 1"},
		{name: "masked directory", script: "ls /sys/firmware; echo $?", want: "0\n"},
		{name: "read-only proc", script: "echo 1 > /proc/sys/kernel/panic 2>/dev/null || echo refused", want: "refused\n"},
		{name: "read-only cgroup", script: "touch /sys/fs/cgroup/pids/x 2>/dev/null || touch /sys/fs/cgroup/x/y 2>/dev/null || echo refused", want: "refused\n"},
		{name: "devices", script: "cat /dev/null; head -c1 /dev/zero >/dev/null && ls /dev/full /dev/ptmx /dev/random /dev/tty /dev/urandom", want: "/dev/full\n/dev/ptmx\n/dev/random\n/dev/tty\n/dev/urandom\n"},
		{name: "init", script: "cat /proc/1/comm", want: "davit-init\n", change: func(c *Config) {
			c.Process.Init, c.Host.Init = true, "/usr/bin/catatonit"
		}},
		{name: "read-only root", script: "touch /bin/x 2>/dev/null || echo refused; touch /tmp/x /run/x /var/tmp/x && echo fine", want: "refused\nfine\n", change: func(c *Config) {
			c.Security.ReadOnlyRootfs, c.Security.ReadOnlyTmpfs = true, true
		}},
		{name: "tmpfs", script: "stat -f -c %T /scratch; ls /scratch", want: "tmpfs\nkept\n", change: func(c *Config) {
			if err := os.MkdirAll(filepath.Join(c.Rootfs, "scratch/kept"), 0o755); err != nil {
				t.Fatal(err)
			}
			c.Mounts = []Mount{{Type: MountTmpfs, Destination: "/scratch", Options: []string{"size=1m"}}}
		}},
		{name: "bind", script: "cat /data/name; touch /data/x 2>/dev/null || echo refused", want: "from the host\nrefused\n", change: func(c *Config) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "name"), []byte("from the host\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			c.Mounts = []Mount{{Type: MountBind, Source: dir, Destination: "/data", Options: []string{"ro"}}}
		}},
		{name: "sysctl", script: "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax", want: "1\n65536\n", change: func(c *Config) {
			c.Sysctls = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"}
		}},
		{name: "host namespaces", script: "echo fine", want: "fine\n", change: func(c *Config) {
			host := Namespace{Mode: ModeHost}
			c.Namespaces = Namespaces{PID: host, Network: host, IPC: host, UTS: host, Cgroup: host}
		}},
		{name: "joined namespaces", script: "echo fine", want: "fine\n", change: func(c *Config) {
			c.Namespaces.Network = Namespace{Mode: ModePod, Path: "/proc/self/ns/net"}
		}},
		{name: "memory", script: "echo fine", want: "fine\n", change: func(c *Config) {
			c.Resources = Resources{Memory: Memory{Limit: 64 << 20}, CPU: CPU{NanoCPUs: 5e8}, Pids: 50}
		}},
		{name: "device", script: "stat -c %t:%T /dev/mine; head -c1 /dev/mine >/dev/null && echo fine", want: "1:5\nfine\n", change: func(c *Config) {
			c.Devices = []Device{{HostPath: "/dev/zero", Path: "/dev/mine", Type: "c", Major: 1, Minor: 5}}
		}},
	}
	for _, runtime := range []string{"runc", "crun"} {
		for _, test := range tests {
			t.Run(runtime+"/"+test.name, func(t *testing.T) {
				c := config(t, test.script)
				if test.change != nil {
					test.change(&c)
				}
				out, err := run(t, runtime, c)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, out); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}
