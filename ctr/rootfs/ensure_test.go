package rootfs

import (
	"os"
	"path/filepath"
	"testing"
)

// self owns what these tests make, since they run without root.
func self() Owner { return Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())} }

func TestEnsureDir(t *testing.T) {
	c := newCanary(t)
	c.link("../../dir", "up")
	c.link(filepath.Join(c.host, "dir"), "out")
	c.link("/real", "alias")
	c.dir("real")
	c.write("file", "")
	c.check(os.Chmod(filepath.Join(c.root, "real"), 0o700))
	tests := []struct {
		name, made, class string
	}{
		{name: "/", made: "."},
		{name: "a/b/c", made: "a/b/c"},
		{name: "/a/b/c/d", made: "a/b/c/d"},
		{name: "alias/x", made: "real/x"},
		{name: "/../../y", made: "y"},
		{name: "up/z", class: "any"},
		{name: "out/z", class: "any"},
		{name: "file", class: "invalid"},
		{name: "file/x", class: "any"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // idempotent
				err := EnsureDir(c.root, test.name, self())
				if test.class == "any" && err == nil || test.class != "any" && class(err) != test.class {
					t.Errorf("error %v, want class %q", err, test.class)
				}
			}
			if test.made != "" {
				if info, err := os.Lstat(filepath.Join(c.root, test.made)); err != nil || !info.IsDir() || test.made != "." && info.Mode().Perm() != 0o755 {
					t.Errorf("%v, %v", info, err)
				}
			}
		})
	}
	if info, err := os.Stat(filepath.Join(c.root, "real")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a directory that was there was changed: %v, %v", info, err)
	}
}

func TestEnsureFile(t *testing.T) {
	c := newCanary(t)
	c.dir("folder")
	c.write("there", "kept")
	c.fifo("fifo")
	c.link("../run/resolve/stub.conf", "etc/resolv.conf")
	c.link("../../secret2", "up")
	c.link(filepath.Join(c.host, "made"), "out")
	c.link(filepath.Join(c.host, "secret"), "shadow")
	tests := []struct{ name, made, class string }{
		{name: "/etc/hosts", made: "etc/hosts"},
		{name: "new/dir/file", made: "new/dir/file"},
		{name: "/etc/resolv.conf", made: "run/resolve/stub.conf"},
		{name: "there", made: "there"},
		{name: "fifo", made: "fifo"},
		{name: "up", made: "secret2"},
		{name: "out", made: filepath.Join(c.host, "made")},
		{name: "shadow", made: filepath.Join(c.host, "secret")},
		{name: "folder", class: "invalid"},
		{name: "there/x", class: "any"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for range 2 {
				err := EnsureFile(c.root, test.name, self())
				if test.class == "any" && err == nil || test.class != "any" && class(err) != test.class {
					t.Errorf("error %v, want class %q", err, test.class)
				}
			}
			if test.made != "" && !c.exists(test.made) {
				t.Errorf("%s was not made", test.made)
			}
		})
	}
	if data, err := os.ReadFile(filepath.Join(c.root, "there")); err != nil || string(data) != "kept" {
		t.Errorf("a file that was there: %q, %v", data, err)
	}
}
