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

// What is known of a root filesystem's layer goes with it: a server sees thousands.
func TestUsageForgotten(t *testing.T) {
	s, im := withImage(t)
	if _, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "c", Image: im.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LayerUsage(t.Context(), "c"); err != nil || s.layers.Known() != 1 {
		t.Fatalf("%d layers are known: %v", s.layers.Known(), err)
	}
	if err := s.DeleteRootfs(t.Context(), "c"); err != nil || s.layers.Known() != 0 {
		t.Errorf("%d layers are known after its removal: %v", s.layers.Known(), err)
	}
}
