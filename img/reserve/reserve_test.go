package reserve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// kept are the files of the reserves.
func kept(t *testing.T, rooms Rooms) (n []int) {
	t.Helper()
	for _, r := range rooms {
		list, err := filepath.Glob(filepath.Join(r.root, folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		n = append(n, len(list))
	}
	return n
}

func TestUse(t *testing.T) {
	rooms := Of(t.TempDir(), t.TempDir())
	rooms.Keep()
	if n := kept(t, rooms); n[0] != count || n[1] != count {
		t.Fatalf("%d files are kept, want %d in each", n, count)
	}
	full := fmt.Errorf("writing: %w", &os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC})
	for _, tt := range []struct {
		name  string
		err   error
		times int
	}{
		{"fine", nil, 1},
		{"full", full, 2},
		{"full, as a child says it", errors.New("exit status 1: no space left on device"), 2},
		{"another error", unix.EIO, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			times := 0
			err := rooms.Use(func() error {
				times++
				if times == 1 {
					return tt.err
				}
				if n := kept(t, rooms); n[0] > 0 || n[1] > 0 {
					t.Error("the reserve is there the second time")
				}
				return nil
			})
			if times != tt.times || (err != nil) != (tt.err == unix.EIO) {
				t.Errorf("called %d times, want %d; %v", times, tt.times, err)
			}
			if n := kept(t, rooms); n[0] != count || n[1] != count {
				t.Errorf("%d files are kept afterwards", n)
			}
		})
	}
}

// Several who find a store full at the same time each have the reserve.
func TestUsedByMany(t *testing.T) {
	rooms := Of(t.TempDir(), t.TempDir())
	rooms.Keep()
	var users sync.WaitGroup
	var without atomic.Int32
	for range 6 {
		users.Go(func() {
			for range 6 {
				times := 0
				if err := rooms.Use(func() error {
					if times++; times == 1 {
						return unix.ENOSPC
					}
					if _, err := os.Lstat(filepath.Join(rooms[0].root, folder)); err == nil {
						without.Add(1)
					}
					return nil
				}); err != nil {
					without.Add(1)
				}
			}
		})
	}
	users.Wait()
	if n := without.Load(); n > 0 {
		t.Errorf("%d had no room", n)
	}
	if n := kept(t, rooms); n[0] != count || n[1] != count {
		t.Errorf("%d files are kept afterwards", n)
	}
}
