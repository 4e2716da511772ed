package reserve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUse(t *testing.T) {
	root := t.TempDir()
	Keep(root)
	files := func() int {
		list, err := filepath.Glob(filepath.Join(root, folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if n := files(); n != count {
		t.Fatalf("%d files are kept, want %d", n, count)
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
			err := Use(root, func() error {
				times++
				if times == 2 && files() > 0 {
					t.Error("the reserve is there the second time")
				}
				if times == 1 {
					return tt.err
				}
				return nil
			})
			if times != tt.times || (err != nil) != (tt.err == unix.EIO) {
				t.Errorf("called %d times, want %d; %v", times, tt.times, err)
			}
			if n := files(); n != count {
				t.Errorf("%d files are kept afterwards", n)
			}
		})
	}
}
