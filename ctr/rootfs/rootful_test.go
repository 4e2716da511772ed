//go:build rootful

package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCopyUpAsRoot(t *testing.T) {
	c, dest := image(t), volume(t)
	at := func(name string) string { return filepath.Join(c.root, "data", name) }
	c.check(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	c.check(os.Lchown(at("up"), 7, 8))
	c.check(os.Chown(at("file"), 1000, 1001))
	c.check(os.Chown(at("fifo"), 5, 6))
	c.check(os.Chown(at(""), 1000, 50))
	c.exec("data/setuid")
	c.check(os.Chown(at("setuid"), 99, 99))
	c.check(os.Chmod(at("setuid"), 0o755|os.ModeSetuid))
	c.check(unix.Setxattr(at("sub"), "user.kept", []byte("value"), 0))
	c.check(unix.Setxattr(at("sub"), "trusted.left", []byte("value"), 0))
	capability := []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	c.exec("data/capable")
	c.check(unix.Setxattr(at("capable"), "security.capability", capability, 0))
	if err := CopyUp(t.Context(), c.root, "data", dest); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uint32{"": {1000, 50}, "file": {1000, 1001}, "sub/hard": {1000, 1001}, "up": {7, 8}, "fifo": {5, 6}, "setuid": {99, 99}, "empty": {0, 0}} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dest, name), &st); err != nil || st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("owner of %q: %d:%d, %v; want %v", name, st.Uid, st.Gid, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dest, "setuid")); err != nil || info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("set-user-ID is lost: %v, %v", info, err)
	}
	if _, err := os.Lstat(filepath.Join(dest, "null")); err == nil {
		t.Error("a device was copied")
	}
	buf := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(dest, "sub"), "user.kept", buf); err != nil || string(buf[:n]) != "value" {
		t.Errorf("attribute: %q, %v", buf[:max(n, 0)], err)
	}
	if _, err := unix.Getxattr(filepath.Join(dest, "sub"), "trusted.left", buf); err == nil {
		t.Error("a trusted attribute was copied")
	}
	if n, err := unix.Getxattr(filepath.Join(dest, "capable"), "security.capability", buf); err != nil || string(buf[:n]) != string(capability) {
		t.Errorf("capability: %q, %v", buf[:max(n, 0)], err)
	}
}

// TestPinStays: what is pinned is not exchanged by who may write to the root.
func TestPinStays(t *testing.T) {
	c := newCanary(t)
	c.dir("tenant/sub")
	c.write("tenant/sub/own", "own")
	c.write("file", "own")
	for name, inside := range map[string]string{"tenant/sub": "own", "file": ""} {
		at := filepath.Join(t.TempDir(), "pin")
		c.check(Pin(c.root, name, at))
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
		if err := Pin(c.root, name, at); err == nil {
			t.Errorf("%q was pinned twice at one place", name)
		}
		c.check(os.Rename(filepath.Join(c.root, name), filepath.Join(c.root, "away")))
		c.link(filepath.Join(c.host, "dir"), name)
		if data, err := os.ReadFile(filepath.Join(at, inside)); err != nil || string(data) != "own" {
			t.Errorf("%q: read %q, %v", name, data, err)
		}
		c.check(unix.Unmount(at, 0))
		c.check(os.Remove(at))
		c.check(os.RemoveAll(filepath.Join(c.root, "away")))
	}
}

// TestCopyUpMount: a volume that is a file system of its own is filled in
// place.
func TestCopyUpMount(t *testing.T) {
	c, dest := image(t), volume(t)
	c.check(unix.Mount("tmpfs", dest, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() {
		if err := unix.Unmount(dest, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := CopyUp(t.Context(), c.root, "data", dest); err != nil {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	c.check(unix.Statfs(dest, &st))
	if st.Type != unix.TMPFS_MAGIC {
		t.Error("the mount was replaced")
	}
	c.check(os.Remove(filepath.Join(dest, "empty")))
	if err := CopyUp(t.Context(), c.root, "data", dest); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dest, "empty")); err == nil {
		t.Error("a volume with content was filled again")
	}
	if data, err := os.ReadFile(filepath.Join(dest, "sub/deep/file")); err != nil || string(data) != "deep" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestEnsureOwner(t *testing.T) {
	c := newCanary(t)
	owner := Owner{UID: 1000, GID: 1001}
	c.check(EnsureDir(c.root, "a/b", owner))
	c.check(EnsureFile(c.root, "x/y", owner))
	for name, want := range map[string]Owner{"etc": {}, "a": owner, "a/b": owner, "x": owner, "x/y": owner} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(c.root, name), &st); err != nil || (Owner{st.Uid, st.Gid}) != want {
			t.Errorf("owner of %q: %d:%d, %v; want %v", name, st.Uid, st.Gid, err, want)
		}
	}
}

// TestDevice: a device of an image is never opened.
func TestDevice(t *testing.T) {
	c := newCanary(t)
	c.check(unix.Mknod(filepath.Join(c.root, "etc/passwd"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	if _, err := ResolveUser(c.root, "0", nil, ""); class(err) != "invalid" {
		t.Error(err)
	}
}

// repeat runs f until the function that it returns is called.
func repeat(f func()) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				f()
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

func (c *canary) exchange(a, b string) {
	_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(c.root, a), unix.AT_FDCWD, filepath.Join(c.root, b), unix.RENAME_EXCHANGE)
}

// TestExchangeFile races the making of a file against a symlink to the host
// that comes and goes.
func TestExchangeFile(t *testing.T) {
	c := newCanary(t)
	path := filepath.Join(c.root, "file")
	stop := repeat(func() {
		_ = os.Symlink(filepath.Join(c.host, "made"), path)
		_ = os.Remove(path)
	})
	defer stop()
	for range 5000 {
		_ = EnsureFile(c.root, "file", Owner{})
	}
}

// TestExchangeCopy races a copy against entries that are exchanged for
// symlinks to the host.
func TestExchangeCopy(t *testing.T) {
	c := newCanary(t)
	c.write("data/dir/inner", "inside")
	c.write("data/file", "inside")
	c.link(filepath.Join(c.host, "dir"), "evildir")
	c.link(filepath.Join(c.host, "secret"), "evilfile")
	stop := repeat(func() {
		c.exchange("data/dir", "evildir")
		c.exchange("data/file", "evilfile")
	})
	defer stop()
	var copied int
	for range 300 {
		dest := volume(t)
		if CopyUp(t.Context(), c.root, "data", dest) == nil {
			copied++
		}
		for _, name := range []string{"file", "dir/inner"} {
			info, err := os.Lstat(filepath.Join(dest, name))
			if err != nil || !info.Mode().IsRegular() || name != "file" && isLink(filepath.Join(dest, "dir")) {
				continue
			}
			if data, err := os.ReadFile(filepath.Join(dest, name)); err == nil && string(data) != "inside" {
				t.Fatalf("%s was copied from the host: %q", name, data)
			}
		}
	}
	t.Logf("%d copied whole", copied)
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&os.ModeSymlink != 0
}

// TestExchange races look-ups against a directory that is exchanged for a
// symlink to the host, as CVE-2021-30465 and CVE-2018-15664 did.
func TestExchange(t *testing.T) {
	c := newCanary(t)
	c.write("dir/inner", "inside")
	c.link("../dir", "evil")
	c.link(filepath.Join(c.host, "dir"), "evil2")
	stop := repeat(func() {
		for _, other := range []string{"evil", "evil2"} {
			c.exchange("dir", other)
			c.exchange("dir", other)
		}
	})
	defer stop()
	var read, refused int
	for range 2000 {
		data, err := ReadRegular(c.root, "dir/inner", 1000)
		switch {
		case err != nil:
			refused++
		case string(data) != "inside":
			t.Fatalf("read from the host: %q", data)
		default:
			read++
		}
		_ = EnsureDir(c.root, "dir/made/deep", Owner{})
		_ = EnsureFile(c.root, "dir/file", Owner{})
	}
	t.Logf("%d read, %d refused", read, refused)
}
