package dump

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
)

// whole is a dump in the folder "d" of a root.
func whole(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "d", Images), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Config, Rootfs, Images + "/pages-1.img"} {
		if err := os.WriteFile(filepath.Join(dir, "d", name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, filepath.Join(dir, "d")
}

func TestRead(t *testing.T) {
	root, _ := whole(t)
	if text, err := Read(root, "d"); err != nil || string(text) != "{}" {
		t.Fatalf("%q, %v", text, err)
	}
	link := func(target, name string) func(string) error {
		return func(dir string) error {
			_ = os.RemoveAll(filepath.Join(dir, name))
			return os.Symlink(target, filepath.Join(dir, name))
		}
	}
	for name, spoil := range map[string]func(dir string) error{
		"no config":           func(dir string) error { return os.Remove(filepath.Join(dir, Config)) },
		"no rootfs":           func(dir string) error { return os.Remove(filepath.Join(dir, Rootfs)) },
		"no images":           func(dir string) error { return os.RemoveAll(filepath.Join(dir, Images)) },
		"a long config":       func(dir string) error { return os.Truncate(filepath.Join(dir, Config), maxText+1) },
		"config is a link":    link("/etc/passwd", Config),
		"config is the other": link(Rootfs, Config),
		"rootfs is a link":    link("/etc/passwd", Rootfs),
		"images are a link":   link("/etc", Images),
	} {
		root, dir := whole(t)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(root, "d"); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, dir := range []string{"../x", "/etc", "none"} {
		if _, err := Read(root, dir); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", dir, err)
		}
	}
}

func TestCopyImages(t *testing.T) {
	root, dir := whole(t)
	to := t.TempDir()
	if err := CopyImages(t.Context(), root, "d", to); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(to, "pages-1.img")); err != nil || string(text) != "{}" {
		t.Errorf("%q, %v", text, err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, Images, "core-1.img")); err != nil {
		t.Fatal(err)
	}
	if err := CopyImages(t.Context(), root, "d", t.TempDir()); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a link among the images: %v", err)
	}
}
