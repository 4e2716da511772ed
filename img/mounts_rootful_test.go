//go:build rootful

package img

import (
	"reflect"
	"testing"
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
		s.mounts.Range(func(id, _ any) bool {
			t.Errorf("unmounted by %s and removed: %v is kept", by, id)
			return true
		})
	}
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
