package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A threaded cgroup, which a container may make in its own, does not tell of processes:
// the domain above it lists all of them.
func TestProcsOfThreaded(t *testing.T) {
	unsupported := "" // a file that reads as cgroup.procs of such a one does
	files, err := filepath.Glob("/sys/class/net/*/phys_*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if _, err := os.ReadFile(path); errors.Is(err, unix.EOPNOTSUPP) {
			unsupported = path
		}
	}
	if unsupported == "" {
		t.Skip("no file of this machine reads so")
	}
	h := fake(t, 2, []string{""}, map[string]string{"p/cgroup.procs": "41\n42\n", "p/plain/cgroup.procs": "43\n", "p/threads/below/cgroup.procs": ""})
	if err := os.Symlink(unsupported, filepath.Join(h.dir("", "/p/threads"), "cgroup.procs")); err != nil {
		t.Fatal(err)
	}
	if pids, err := h.Procs("/p"); err != nil || !slices.Equal(pids, []int{41, 42, 43}) {
		t.Errorf("%v, %v", pids, err)
	}
	if _, err := h.Procs("/p/threads"); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("asked for itself: %v", err)
	}
}
