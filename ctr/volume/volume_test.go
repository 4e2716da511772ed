package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func testStore(t *testing.T) *Store {
	t.Helper()
	return New(Options{Root: t.TempDir(), Now: func() time.Time { return time.Unix(1700000000, 0).UTC() }})
}

func names(t *testing.T, s *Store) []string {
	t.Helper()
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, v := range all {
		out = append(out, v.Name)
	}
	return out
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"data": true, "a.b_c-9": true, "9": true, strings.Repeat("a", 255): true,
		"": false, ".hidden": false, "-x": false, "a/b": false, "..": false, "a b": false, "ä": false,
		"a\n": false, strings.Repeat("a", 256): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		} else if err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("CheckName(%q): wrong class: %v", name, err)
		}
	}
}

func TestLife(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	v, err := s.Create(ctx, Config{Name: "data", Labels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Get("data")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, got); diff != "" {
		t.Error(diff)
	}
	if st, err := os.Stat(v.Path); err != nil || st.Mode().Perm() != 0o755 || filepath.Base(v.Path) != "_data" {
		t.Errorf("data folder: %v, %v", st, err)
	}
	if _, err := s.Create(ctx, Config{Name: "data"}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second create: %v", err)
	}
	if again, err := s.Ensure(ctx, Config{Name: "data"}); err != nil || cmp.Diff(v, again) != "" {
		t.Errorf("Ensure of one that is there = %v, %v", again, err)
	}
	if made, err := s.Ensure(ctx, Config{Name: "x", Anonymous: true}); err != nil || !made.Anonymous {
		t.Errorf("Ensure of one that is absent = %v, %v", made, err)
	}
	if diff := cmp.Diff([]string{"data", "x"}, names(t, s)); diff != "" {
		t.Error(diff)
	}
	if err := s.Remove(ctx, "data"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, "data"); !errdefs.IsNotFound(err) {
		t.Errorf("second remove: %v", err)
	}
	if diff := cmp.Diff([]string{"x"}, names(t, s)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"..", "a/../x", ""} {
		if _, err := s.Get(bad); !errdefs.IsNotFound(err) {
			t.Errorf("Get(%q): %v", bad, err)
		}
		if err := s.Remove(ctx, bad); !errdefs.IsNotFound(err) {
			t.Errorf("Remove(%q): %v", bad, err)
		}
	}
}

func TestRemoveInUse(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	if _, err := s.Create(ctx, Config{Name: "data"}); err != nil {
		t.Fatal(err)
	}
	err := s.RemoveUnused(ctx, "data", func(string) ([]string, error) { return []string{"web", "db"}, nil })
	var used *InUseError
	if !errors.As(err, &used) || !errdefs.IsFailedPrecondition(err) || err.Error() != `volume "data" is used by web, db` {
		t.Fatalf("RemoveUnused = %v", err)
	}
	broken := errors.New("no list")
	if err := s.RemoveUnused(ctx, "data", func(string) ([]string, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("RemoveUnused with a broken list = %v", err)
	}
	if _, err := s.Get("data"); err != nil {
		t.Errorf("the volume is gone: %v", err)
	}
}

func TestResolve(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	long := func(c string) string { return c + strings.Repeat("0", 63) }
	for _, c := range []Config{{Name: "data"}, {Name: long("a1"), Anonymous: true}, {Name: long("a2"), Anonymous: true}} {
		if _, err := s.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, ref, want string
		class           func(error) bool
	}{
		{name: "name", ref: "data", want: "data"},
		{name: "prefix of a name", ref: "dat", class: errdefs.IsNotFound},
		{name: "unique prefix", ref: "a1", want: long("a1")},
		{name: "ambiguous prefix", ref: "a", class: errdefs.IsInvalidArgument},
		{name: "nothing", ref: "", class: errdefs.IsNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := s.Resolve(tt.ref)
			if tt.class != nil {
				if !tt.class(err) {
					t.Fatalf("error = %v", err)
				}
				return
			}
			if err != nil || v.Name != tt.want {
				t.Fatalf("= %q, %v", v.Name, err)
			}
		})
	}
}

// What a fill that was killed has left goes with the next one, also where that finds
// the volume filled.
func TestPopulateAfterAKill(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	for _, name := range []string{"empty", "full"} {
		v, err := s.Create(ctx, Config{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(filepath.Dir(v.Path), ".half")
		err = errors.Join(os.MkdirAll(filepath.Join(left, "deep"), 0o700), os.WriteFile(filepath.Join(left, "deep", "f"), nil, 0o600))
		if err == nil && name == "full" {
			err = os.WriteFile(filepath.Join(v.Path, "mine"), nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		err = s.Populate(ctx, name, func(path string) error {
			_, err := os.Lstat(left)
			if err == nil {
				t.Error("it is there when the volume is filled")
			}
			return os.WriteFile(filepath.Join(path, "f"), nil, 0o600)
		})
		if err != nil {
			t.Error(err)
		}
		entries, err := os.ReadDir(filepath.Dir(v.Path))
		if err != nil || len(entries) != 2 { // the data and the description
			t.Errorf("%s: there are %v, %v", name, entries, err)
		}
	}
}

func TestPopulate(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	v, err := s.Create(ctx, Config{Name: "data"})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk full")
	if err := s.Populate(ctx, "data", func(string) error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("broken fill: %v", err)
	}
	var mu sync.Mutex
	calls := 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			err := s.Populate(ctx, "data", func(path string) error {
				mu.Lock()
				defer mu.Unlock()
				calls++
				return os.WriteFile(filepath.Join(path, "f"), []byte("x"), 0o600)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if calls != 1 {
		t.Errorf("filled %d times", calls)
	}
	if got, err := s.Get("data"); err != nil || !got.Populated {
		t.Errorf("= %+v, %v", got, err)
	}
	// One that holds something before its first use stays as it is.
	w, err := s.Create(ctx, Config{Name: "full"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.Path, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Populate(ctx, "full", func(string) error { t.Error("filled"); return nil }); err != nil {
		t.Error(err)
	}
	if err := s.Populate(ctx, "absent", nil); !errdefs.IsNotFound(err) {
		t.Errorf("absent: %v", err)
	}
	_ = v
}

func TestConcurrentEnsureAndRemove(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if v, err := s.Ensure(ctx, Config{Name: "data"}); err != nil || v.Name != "data" {
					t.Errorf("Ensure: %v, %v", v, err)
				}
				if err := s.Remove(ctx, "data"); err != nil && !errdefs.IsNotFound(err) {
					t.Errorf("Remove: %v", err)
				}
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "data" {
			t.Errorf("left over: %s", e.Name())
		}
	}
}

// Programs in volumes may be set-user-ID, and owned by root: nobody else gets at them
// by path, those of an older davit's volumes neither.
func TestClosedToOthers(t *testing.T) {
	for name, use := range map[string]func(s *Store) error{
		"create": func(s *Store) error { _, err := s.Create(t.Context(), Config{}); return err },
		"ensure": func(s *Store) error { _, err := s.Ensure(t.Context(), Config{Name: "a"}); return err },
		"list":   func(s *Store) error { _, err := s.List(); return err },
	} {
		s := testStore(t)
		v, err := s.Create(t.Context(), Config{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for path, want := range map[string]os.FileMode{s.dir: 0o700, filepath.Dir(v.Path): 0o700, v.Path: 0o755} {
				if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
					t.Errorf("%s: %s has mode %v, %v, want %v", name, path, st.Mode(), err, want)
				}
			}
			if err := os.Chmod(s.dir, 0o711); err != nil {
				t.Fatal(err)
			}
			if err := use(s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestSweep(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	if _, err := s.Create(ctx, Config{Name: "data"}); err != nil {
		t.Fatal(err)
	}
	for _, dead := range []string{newMark + "dead", oldMark + "dead"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dead, dataName), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	alive := filepath.Join(s.dir, newMark+"alive")
	if err := os.Mkdir(alive, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := lockDir(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if diff := cmp.Diff([]string{"data"}, names(t, s)); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Create(ctx, Config{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{newMark + "dead": false, oldMark + "dead": false, newMark + "alive": true} {
		if got := exists(filepath.Join(s.dir, name)); got != want {
			t.Errorf("%s is there: %v", name, got)
		}
	}
}

func TestFileVersions(t *testing.T) {
	s, ctx := testStore(t), context.Background()
	if _, err := s.Create(ctx, Config{Name: "data"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.dir, "data", fileName)
	if err := os.WriteFile(path, []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("data"); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a newer version: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get("data"); err != nil || !v.Populated || v.Path == "" {
		t.Errorf("an empty file: %+v, %v", v, err)
	}
	if err := os.WriteFile(path, []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err == nil || len(all) != 0 {
		t.Errorf("a broken file: %v, %v", all, err)
	}
	if err := s.Remove(ctx, "data"); err != nil {
		t.Errorf("removing a broken one: %v", err)
	}
}
