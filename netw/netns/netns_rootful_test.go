//go:build rootful

package netns

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// in reads a file in the namespaces pinned at p.
func in(t *testing.T, p Pinned, path string) string {
	t.Helper()
	var out string
	err := onThread(func() error {
		for _, ns := range []string{p.Net, p.IPC, p.UTS} {
			if ns == "" {
				continue
			}
			f, err := os.Open(ns)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := unix.Setns(int(f.Fd()), 0); err != nil {
				return err
			}
		}
		b, err := os.ReadFile(path)
		out = strings.TrimSpace(string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCreate(t *testing.T) {
	host := map[string]string{}
	sysctls := map[string]string{"net.ipv4.ip_default_ttl": "33", "kernel.shmmni": "77", "kernel.domainname": "example.org", "fs.mqueue.msg_max": "9"}
	for name := range sysctls {
		b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		if err != nil {
			t.Fatal(err)
		}
		host[name] = string(b)
	}
	dir := filepath.Join(t.TempDir(), "ns")
	p, err := Create(t.Context(), Config{Dir: dir, Net: true, IPC: true, UTS: true, Hostname: "web-1", Sysctls: sysctls})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for name, want := range sysctls {
		path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if got := in(t, p, path); got != want {
			t.Errorf("%s is %q inside, want %q", name, got, want)
		}
		if b, _ := os.ReadFile(path); string(b) != host[name] {
			t.Errorf("%s changed on the host to %q", name, b)
		}
	}
	if got := in(t, p, "/proc/sys/kernel/hostname"); got != "web-1" {
		t.Errorf("hostname %q", got)
	}
	if got := in(t, p, "/proc/sys/net/ipv6/conf/default/accept_ra"); got != "0" {
		t.Errorf("accept_ra %q", got)
	}
	err = Do(p.Net, func() error {
		lo, err := net.InterfaceByName("lo")
		if err == nil && lo.Flags&net.FlagUp == 0 {
			err = errors.New("lo is down")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := Create(t.Context(), Config{Dir: dir, Net: true}); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a second time: %v", err)
	}
	for range 2 {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("folder left: %v", err)
	}
	if err := Do(p.Net, func() error { return nil }); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("entering what is gone: %v", err)
	}
}

func TestCreateOwned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns")
	maps := []IDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	p, err := Create(t.Context(), Config{Dir: dir, Net: true, IPC: true, UTS: true, UIDs: maps, GIDs: maps, Hostname: "owned",
		Sysctls: map[string]string{"net.ipv4.ip_default_ttl": "33", "kernel.shmmni": "77"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for path, want := range map[string]string{"net/ipv4/ip_default_ttl": "33", "kernel/shmmni": "77", "kernel/hostname": "owned"} {
		if got := in(t, p, "/proc/sys/"+path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	want, err := os.Stat(p.User)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{p.Net, p.IPC, p.UTS} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		owner, err := unix.IoctlRetInt(fd, unix.NS_GET_USERNS)
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(owner), "owner")
		got, err := f.Stat()
		if err != nil || !os.SameFile(got, want) {
			t.Errorf("%s belongs to another user namespace, %v", path, err)
		}
		f.Close()
	}
	out, err := exec.Command("nsenter", "--user="+p.User, "--net="+p.Net, "cat", "/proc/self/uid_map").CombinedOutput()
	if err != nil || strings.Join(strings.Fields(string(out)), " ") != "0 100000 65536" {
		t.Errorf("mappings %q, %v", out, err)
	}
	if _, err := Create(t.Context(), Config{Dir: dir + "2", Net: true, UIDs: maps}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("without groups: %v", err)
	}
}

func TestCreateSome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns")
	p, err := Create(t.Context(), Config{Dir: dir, UTS: true})
	if err != nil {
		t.Fatal(err)
	}
	if p.Net != "" || p.IPC != "" || p.UTS == "" {
		t.Errorf("%+v", p)
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if p, err := Create(t.Context(), Config{Dir: dir}); err != nil || p != (Pinned{}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// A failure leaves nothing pinned.
func TestCreateFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns")
	_, err := Create(t.Context(), Config{Dir: dir, Net: true, Sysctls: map[string]string{"net.ipv4.no_such_thing": "1"}})
	if !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("folder left: %v", err)
	}
}

func TestRemoveStacked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns")
	p, err := Create(t.Context(), Config{Dir: dir, Net: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc/self/ns/net", p.Net, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("still mounted, %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "other")); err != nil {
		t.Errorf("another file is gone: %v", err)
	}
}

// The main thread never ends in another namespace, whoever asks.
func TestMainThread(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ns")
	p, err := Create(t.Context(), Config{Dir: dir, Net: true})
	if err != nil {
		t.Fatal(err)
	}
	defer Remove(dir)
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := Do(p.Net, func() error {
			if unix.Gettid() == unix.Getpid() {
				t.Error("on the main thread")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	if after, err := os.Readlink("/proc/self/ns/net"); err != nil || after != before {
		t.Errorf("moved from %s to %s, %v", before, after, err)
	}
}
