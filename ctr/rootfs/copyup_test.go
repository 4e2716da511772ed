package rootfs

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// listing describes a tree: kind and permissions, and a symlink's target or a
// file's content.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		out[rel] = info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			out[rel] += " " + string(data)
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			out[rel] += " " + target
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// image has a /data of every kind of file that needs no root.
func image(t *testing.T) *canary {
	c := newCanary(t)
	c.write("data/file", "content")
	c.write("data/sub/deep/file", "deep")
	c.dir("data/empty")
	c.fifo("data/fifo")
	c.link("../../secret", "data/up")
	c.link(filepath.Join(c.host, "dir"), "data/out")
	c.check(os.Link(filepath.Join(c.root, "data/file"), filepath.Join(c.root, "data/sub/hard")))
	c.check(os.Chmod(filepath.Join(c.root, "data/sub"), 0o750|fs.ModeSticky))
	c.check(os.Chmod(filepath.Join(c.root, "data/file"), 0o640))
	c.check(os.Chmod(filepath.Join(c.root, "data"), 0o711))
	when := time.Unix(1_000_000_000, 5)
	c.check(os.Chtimes(filepath.Join(c.root, "data/file"), when, when))
	c.check(os.Chtimes(filepath.Join(c.root, "data"), when, when))
	return c
}

func volume(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "_data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCopyUp(t *testing.T) {
	c, dest := image(t), volume(t)
	if err := CopyUp(t.Context(), c.root, "/data", dest); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(listing(t, filepath.Join(c.root, "data")), listing(t, dest)); diff != "" {
		t.Errorf("(-image +volume):\n%s", diff)
	}
	for _, name := range []string{"", "file"} {
		info, err := os.Stat(filepath.Join(dest, name))
		if err != nil || !info.ModTime().Equal(time.Unix(1_000_000_000, 5)) {
			t.Errorf("time of %q: %v, %v", name, info.ModTime(), err)
		}
	}
	var a, b unix.Stat_t
	c.check(unix.Stat(filepath.Join(dest, "file"), &a))
	c.check(unix.Stat(filepath.Join(dest, "sub/hard"), &b))
	if a.Ino != b.Ino {
		t.Error("a hard link became a copy")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dest), ".*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestCopyUpRefuses(t *testing.T) {
	tests := []struct {
		name, path string
		make       func(*canary)
		class      string
	}{
		{"absent", "/none", func(*canary) {}, "not found"},
		{"file", "/data/file", func(*canary) {}, "invalid"},
		{"fifo", "/data/fifo", func(*canary) {}, "invalid"},
		{"link to the host", "/data/out", func(*canary) {}, "not found"},
		{"link upwards", "/climb", func(c *canary) { c.link("../dir", "climb") }, "not found"},
		{"very deep", "/abyss", func(c *canary) {
			path := filepath.Join(c.root, "abyss")
			for range 11 {
				path = filepath.Join(path, strings.Repeat("d/", 100))
				c.check(os.MkdirAll(path, 0o755))
			}
		}, "invalid"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, dest := image(t), volume(t)
			test.make(c)
			err := CopyUp(t.Context(), c.root, test.path, dest)
			if class(err) != test.class {
				t.Errorf("error %v, want class %q", err, test.class)
			}
			if got := listing(t, filepath.Dir(dest)); len(got) != 2 {
				t.Errorf("something was copied: %v", got)
			}
		})
	}
}

// TestCopyUpOnlyEmpty: CVE-2020-1726.
func TestCopyUpOnlyEmpty(t *testing.T) {
	c, dest := image(t), volume(t)
	c.check(os.WriteFile(filepath.Join(dest, "mine"), []byte("x"), 0o600))
	before := listing(t, dest)
	if err := CopyUp(t.Context(), c.root, "data", dest); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, listing(t, dest)); diff != "" {
		t.Errorf("a volume with content was changed:\n%s", diff)
	}
	if err := CopyUp(t.Context(), c.root, "data", filepath.Join(dest, "mine")); err == nil {
		t.Error("a file as destination was accepted")
	}
	link := filepath.Join(t.TempDir(), "link")
	c.check(os.Symlink(dest, link))
	if err := CopyUp(t.Context(), c.root, "data", link); err == nil {
		t.Error("a symlink as destination was followed")
	}
}

func TestCopyUpCancelled(t *testing.T) {
	c, dest := image(t), volume(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := CopyUp(ctx, c.root, "data", dest); err == nil {
		t.Error("a cancelled copy succeeded")
	}
	if got := listing(t, filepath.Dir(dest)); len(got) != 2 {
		t.Errorf("left behind: %v", got)
	}
}
