//go:build rootful

package img

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/moby/sys/mountinfo"

	"github.com/davit-containers/davit/img/mounted"
)

// TestMountsForgotten: nothing is kept in memory of a root filesystem that is
// removed, by us or by the library, whichever process has unmounted it.
func TestMountsForgotten(t *testing.T) {
	s, im := withImage(t)
	for _, by := range []string{"nobody", "this process", "another process"} {
		if _, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "one", Image: im.ID}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.MountRootfs(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if n := counted(t, s); n != 1 {
			t.Fatalf("one is mounted, and the driver counts %d", n)
		}
		switch by {
		case "this process":
			if err := s.UnmountRootfs(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
		case "another process":
			if out, err := child(t, s, "unmount", "one").CombinedOutput(); err != nil {
				t.Fatalf("unmounting in another process: %v\n%s", err, out)
			}
		}
		if err := s.DeleteRootfs(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		if n := counted(t, s); n > 0 {
			t.Errorf("unmounted by %s and removed, and the driver counts %d", by, n)
		}
		if n := s.mounts.Len(); n > 0 {
			t.Errorf("unmounted by %s and removed, and %d are kept in mind", by, n)
		}
	}
}

// TestMountsRemovedElsewhere: what another process removes is forgotten, too, sooner or
// later, and what is still there can be unmounted then.
func TestMountsRemovedElsewhere(t *testing.T) {
	const rounds, each = 12, 20
	s, im := withImage(t)
	if err := makeMounted(t, s, im, "stays"); err != nil {
		t.Fatal(err)
	}
	most := 0
	for round := range rounds {
		var ids []string
		for i := range each {
			ids = append(ids, fmt.Sprintf("r%d-%d", round, i))
			if err := makeMounted(t, s, im, ids[i]); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := child(t, s, append([]string{"remove"}, ids...)...).CombinedOutput(); err != nil {
			t.Fatalf("removing in another process: %v\n%s", err, out)
		}
		most = max(most, counted(t, s))
	}
	if limit := mounted.Few + 2*each + 2; most > limit {
		t.Errorf("of %d mounts, %d at a time, the driver counts up to %d, want %d at most", rounds*each, each, most, limit)
	}
	if n := s.mounts.Len(); n > mounted.Few+2*each+2 {
		t.Errorf("%d mounts are kept in mind", n)
	}
	path, err := s.MountRootfs(t.Context(), "stays")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.UnmountRootfs(t.Context(), "stays"); err != nil {
		t.Fatal(err)
	}
	if is, err := mountinfo.Mounted(path); is || err != nil {
		t.Errorf("after unmounting %s is mounted: %v, %v", path, is, err)
	}
	if err := s.DeleteRootfs(t.Context(), "stays"); err != nil {
		t.Error(err)
	}
}

func makeMounted(t *testing.T, s *Store, im Image, id string) error {
	t.Helper()
	_, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: id, Image: im.ID, Volatile: true})
	if err == nil {
		_, err = s.MountRootfs(t.Context(), id)
	}
	return err
}

// counted is how many mounts the overlay driver of a store has in mind.
func counted(t *testing.T, s *Store) int {
	t.Helper()
	driver, err := s.storage().GraphDriver()
	if err != nil {
		t.Fatal(err)
	}
	counter := reflect.ValueOf(driver).Elem().FieldByName("ctr")
	return counter.Elem().FieldByName("counts").Len()
}
