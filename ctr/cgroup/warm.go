package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
)

// Warm makes the next moves of processes between cgroups quick, whoever makes them: the
// first one in a while waits for an RCU grace period (8 to 30 ms, in
// cgroup_threadgroup_rwsem), which Warm does in its place. It moves this process to
// where it is, so that nothing changes, and takes that long; cgroups cannot be made
// meanwhile. Whether it can is not told: it is no loss but of time.
func (h *Host) Warm() {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return
	}
	own := parseOwn(string(data)) // as it is now
	for _, c := range []string{"freezer", "pids", "memory", ""} {
		if path, ok := own[c]; ok && h.dir(c, path) != "" {
			_ = writeFile(filepath.Join(h.dir(c, path), "cgroup.procs"), strconv.Itoa(os.Getpid()))
			return
		}
	}
}
