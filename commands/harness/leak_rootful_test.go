//go:build rootful

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEachLeakIsSeen makes one leak of each kind and wants it named.
func TestEachLeakIsSeen(t *testing.T) {
	roots := newRoots(t)
	scope := Scope{Roots: []Roots{roots}}
	tag := roots.NetworkTag()
	tests := []struct {
		name string
		want string
		make func(t *testing.T)
	}{
		{"mount", "mount tmpfs at " + roots.Dir + "/m", func(t *testing.T) { mount(t, filepath.Join(roots.Dir, "m")) }},
		{"pinned namespace", "mount nsfs at " + roots.Dir + "/ns (net)", func(t *testing.T) { pin(t, filepath.Join(roots.Dir, "ns")) }},
		{"link", "link lk" + tag, func(t *testing.T) {
			run(t, "ip", "link", "add", "lk"+tag, "type", "bridge")
			t.Cleanup(func() { run(t, "ip", "link", "delete", "lk"+tag) })
		}},
		{"table", `firewall nft table {"family":"inet","name":"t` + tag, func(t *testing.T) {
			run(t, "nft", "add", "table", "inet", "t"+tag)
			t.Cleanup(func() { run(t, "nft", "delete", "table", "inet", "t"+tag) })
		}},
		{"iptables rule", "firewall iptables -A FORWARD", func(t *testing.T) {
			rule := []string{"FORWARD", "-s", "192.0.2.77", "-m", "comment", "--comment", tag, "-j", "ACCEPT"}
			run(t, "iptables", append([]string{"-A"}, rule...)...)
			t.Cleanup(func() { run(t, "iptables", append([]string{"-D"}, rule...)...) })
		}},
		{"cgroup", "davit-leak-" + tag, func(t *testing.T) {
			dir := filepath.Join(cgroupMounts()[0], "davit-leak-"+tag)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(dir) })
		}},
		{"process", "conmon: ", func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "conmon")
			run(t, "cp", "/bin/busybox", bin)
			startChild(t, &exec.Cmd{Path: bin, Args: []string{"sleep", "60"}})
		}},
		{"run file", "run file " + roots.RunRoot + "/containers/x/op", func(t *testing.T) {
			writeFile(t, filepath.Join(roots.RunRoot, "containers/x/op"), "")
		}},
		{"record", "state file " + roots.Root + "/pods/x/config.json", func(t *testing.T) {
			writeFile(t, filepath.Join(roots.Root, "pods/x/config.json"), "")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, err := Take(t.Context(), scope)
			if err != nil {
				t.Fatal(err)
			}
			tt.make(t)
			d, err := Settle(t.Context(), before, scope, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(d.Leaked, "\n"), tt.want) {
				t.Errorf("no %q in:\n%s", tt.want, d)
			}
		})
	}
}

func TestSettleWaits(t *testing.T) {
	roots := newRoots(t)
	scope := Scope{Roots: []Roots{roots}}
	before, err := Take(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(roots.RunRoot, "exits", "x")
	writeFile(t, path, "")
	timer := time.AfterFunc(300*time.Millisecond, func() { _ = os.Remove(path) })
	defer timer.Stop()
	d, err := Settle(t.Context(), before, scope, 5*time.Second)
	if err != nil || strings.Contains(d.String(), path) {
		t.Errorf("%v\n%s", err, d)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func mount(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("leak", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
}

func pin(t *testing.T, path string) {
	t.Helper()
	writeFile(t, path, "")
	run(t, "unshare", "--net="+path, "true")
	t.Cleanup(func() { _ = unix.Unmount(path, 0) })
}

func startChild(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}
