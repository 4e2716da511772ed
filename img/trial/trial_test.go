package trial

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.podman.io/storage/pkg/lockfile"
)

// store is one with folders of layers and of trials.
func store(t *testing.T) (root, overlay string) {
	t.Helper()
	root = t.TempDir()
	overlay = filepath.Join(root, "overlay")
	for _, name := range []string{"l", "staging", "compat17/merged/subdir", "metacopy-check1", "opaque-bug-check2/l1", "volatile-check3",
		"compat", "compatible1", "0123456789abcdef/diff"} {
		if err := os.MkdirAll(filepath.Join(overlay, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return root, overlay
}

func TestSweep(t *testing.T) {
	root, overlay := store(t)
	want := []string{"compat17", "metacopy-check1", "opaque-bug-check2", "volatile-check3"}
	if left, err := Left(root); err != nil || !slices.Equal(left, want) {
		t.Errorf("left: %q, %v", left, err)
	}
	if err := Sweep(root); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(overlay)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"0123456789abcdef", "compat", "compatible1", "l", "staging"}; !slices.Equal(names, want) {
		t.Errorf("after the sweep there are %q", names)
	}
	if left, err := Left(t.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("a store without a layer: %q, %v", left, err)
	}
}

// A trial that is under way holds one of the locks, and is no leftover.
func TestSweepWaits(t *testing.T) {
	for _, name := range []string{"storage.lock", "overlay-layers/layers.lock"} {
		root, overlay := store(t)
		if err := os.MkdirAll(filepath.Join(root, "overlay-layers"), 0o700); err != nil {
			t.Fatal(err)
		}
		lock, err := lockfile.GetLockFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		lock.Lock()
		swept := make(chan struct{})
		go func() {
			defer close(swept)
			if err := Sweep(root); err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-swept:
			t.Errorf("%s is held, and the sweep ends", name)
		case <-time.After(100 * time.Millisecond):
		}
		if _, err := os.Stat(filepath.Join(overlay, "compat17")); err != nil {
			t.Errorf("%s is held: %v", name, err)
		}
		lock.Unlock()
		<-swept
	}
}

func TestDue(t *testing.T) {
	run := t.TempDir()
	for _, name := range []string{"", "overlay-true", "metacopy()-false", "native-diff()-true", "idmapped-lower-dir-true", "volatile-true"} {
		if !Due(run) {
			t.Errorf("nothing is due before %q is known", name)
		}
		if err := os.MkdirAll(filepath.Join(run, "overlay"), 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(run, "overlay", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if Due(run) {
		t.Error("all is known")
	}
}
