//go:build rootful

package img

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Where another process has cleared away the folder that the store moves a layer to
// when it deletes it, the layer stays where it is, and the store says nothing.
func TestDeletingWritable(t *testing.T) {
	s, im := withImage(t)
	made, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "c", Image: im.ID})
	if err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(s.storage().GraphRoot(), "overlay", made.Layer)
	aside := filepath.Join(t.TempDir(), "aside")
	err = deletingWritable(s.storage(), made.Layer, func() error {
		if _, err := s.storage().Container("c"); err != nil {
			t.Error("it is deleted once more")
		}
		return errors.Join(os.Rename(layer, aside), s.storage().DeleteContainer("c"), os.Rename(aside, layer))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(layer); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the layer stays: %v", err)
	}
}

// What is known of a root filesystem's layer goes with it: the next one of its ID is
// another.
func TestUsageForgotten(t *testing.T) {
	s, im := withImage(t)
	for _, name := range []string{"", "file"} {
		if _, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "c", Image: im.ID}); err != nil {
			t.Fatal(err)
		}
		path, err := s.MountRootfs(t.Context(), "c")
		if err == nil && name != "" {
			err = os.WriteFile(filepath.Join(path, name), make([]byte, 1<<20), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		usage, err := s.LayerUsage(t.Context(), "c")
		if written := usage.Bytes >= 1<<20; err != nil || written != (name != "") {
			t.Errorf("with %q written: %+v, %v", name, usage, err)
		}
		if err := errors.Join(s.UnmountRootfs(t.Context(), "c"), s.DeleteRootfs(t.Context(), "c")); err != nil {
			t.Fatal(err)
		}
	}
}
