package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Warm moves this process to the cgroup that it is in, and nowhere else.
func TestWarm(t *testing.T) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	own := parseOwn(string(data))
	c := "freezer"
	h := &Host{Version: 1, mounts: map[string]string{c: t.TempDir()}}
	if _, ok := own[c]; !ok {
		c = ""
		h = &Host{Version: 2, mounts: map[string]string{c: t.TempDir()}}
	}
	procs := filepath.Join(h.mounts[c], own[c], "cgroup.procs")
	if err := os.MkdirAll(filepath.Dir(procs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(procs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h.Warm()
	if got, err := os.ReadFile(procs); err != nil || string(got) != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q, %v", got, err)
	}
}
