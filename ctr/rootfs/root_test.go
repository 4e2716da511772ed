package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a mount leads to is in the root, whatever links others have put there.
func TestMountable(t *testing.T) {
	c := newCanary(t)
	c.dir("a/b")
	c.write("a/file", "x")
	c.link("/a/b", "absolute")
	c.link("../../dir", "up")
	c.link(filepath.Join(c.host, "dir"), "out")
	c.link("/proc/self/root", "magic")
	c.link("loop", "loop")
	c.check(unix.Mkfifo(filepath.Join(c.root, "fifo"), 0o600))
	for name, want := range map[string]struct {
		leads, class string
		dir          bool
	}{
		"a/b": {leads: "a/b", dir: true}, "/a//b/": {leads: "a/b", dir: true}, "a/file": {leads: "a/file"}, ".": {leads: ".", dir: true},
		"absolute": {leads: "a/b", dir: true},
		"up":       {class: "not found"}, "out": {class: "not found"}, "magic": {class: "not found"}, "loop": {class: "not found"},
		"absent": {class: "not found"}, "a/file/x": {class: "not found"},
		"a/../../secret": {class: "invalid"}, "..": {class: "invalid"}, "fifo": {class: "invalid"},
	} {
		handle, dir, err := pinned(c.root, name)
		if class(err) != want.class || dir != want.dir {
			t.Errorf("%q: folder %v, error %v, want %v and class %q", name, dir, err, want.dir, want.class)
		}
		if err != nil {
			continue
		}
		got, err := handle.Stat()
		c.check(err)
		at, err := os.Stat(filepath.Join(c.root, want.leads))
		c.check(err)
		if !os.SameFile(got, at) {
			t.Errorf("%q leads to another file than %q", name, want.leads)
		}
		c.check(handle.Close())
	}
}

// Nothing is left of a pin that is refused.
func TestPinLeavesNothing(t *testing.T) {
	c := newCanary(t)
	c.dir("a")
	at := filepath.Join(c.root, "pin")
	for _, name := range []string{"absent", "..", "../secret"} {
		if err := Pin(c.root, name, at); err == nil {
			t.Errorf("%q is pinned", name)
		}
		if _, err := os.Lstat(at); !os.IsNotExist(err) {
			t.Errorf("%q: something is left: %v", name, err)
		}
	}
}
