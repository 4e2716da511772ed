package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
)

// Stats is what the kernel counts of a cgroup and those below it. A counter
// whose controller the host has not is 0.
type Stats struct {
	// Time is when it was read.
	Time   time.Time
	CPU    CPUStats
	Memory MemoryStats
	Pids   PidStats
	IO     IOStats
	// Huge are the huge pages, by their size.
	Huge []HugeStats
	// Pressure is nil where the kernel does not tell: version 1, or psi=0.
	Pressure *PressureStats
}

// CPUStats are totals since the cgroup was made, in nanoseconds.
type CPUStats struct {
	Usage, User, System uint64
	// Throttled is how long its processes were held back, in ThrottledPeriods
	// of Periods.
	Throttled, Periods, ThrottledPeriods uint64
}

// MemoryStats are in bytes, but for the counts of faults, kills and failures.
type MemoryStats struct {
	Usage, MaxUsage uint64
	// Limit is 0 where there is none.
	Limit uint64
	// WorkingSet is Usage without the page cache that is not active: what the
	// kubelet evicts by.
	WorkingSet, RSS, Cache, Mapped uint64
	// Kernel is what the kernel itself holds for the processes.
	Kernel                                                     uint64
	ActiveAnon, InactiveAnon, ActiveFile, InactiveFile         uint64
	AnonTHP, FileTHP, ShmemTHP                                 uint64 // version 2 only
	Swap, SwapLimit                                            uint64
	PageFaults, MajorPageFaults, OwnPageFaults, OwnMajorFaults uint64 // own: without the cgroups below
	// Failures is how often usage hit the limit.
	OOMKills, Failures uint64
}

// PidStats count tasks, which are threads; a Limit of 0 is none.
type PidStats struct {
	Current, Limit uint64
}

// IOStats are totals over all block devices.
type IOStats struct {
	ReadBytes, WriteBytes, ReadOps, WriteOps uint64
	Devices                                  []DeviceStats
}

// DeviceStats are one block device's, by its numbers "major:minor". Name is for
// those who know what it is called.
type DeviceStats struct {
	Device, Name                             string
	ReadBytes, WriteBytes, ReadOps, WriteOps uint64
}

// HugeStats are the huge pages of one size, such as "2MB". Max is 0 on version 2,
// which does not keep it.
type HugeStats struct {
	Size       string
	Usage, Max uint64
}

// Stats reads all counters of a cgroup. One that is not there is ErrNotFound.
func (h *Host) Stats(path string) (Stats, error) { return readStats(h, path, true) }

// Usage reads what changes with the load and is asked for every few seconds:
// CPU.Usage, Pressure, and Memory without its maximum and counts of failures.
// One that is not there is ErrNotFound.
func (h *Host) Usage(path string) (Stats, error) { return readStats(h, path, false) }

func readStats(h *Host, path string, full bool) (Stats, error) {
	if err := checkPath(path); err != nil {
		return Stats{}, err
	}
	r := reader{h: h, path: path, buf: make([]byte, firstRead)}
	s := Stats{Time: time.Now()}
	if h.Version == 2 {
		r.stats2(&s, full)
	} else {
		r.stats1(&s, full)
	}
	if r.found == 0 {
		if _, err := os.Lstat(h.processDir(path)); errors.Is(err, fs.ErrNotExist) {
			return Stats{}, fmt.Errorf("cgroup %q: %w", path, errdefs.ErrNotFound)
		}
	}
	if r.err != nil {
		return Stats{}, fmt.Errorf("reading counters of cgroup %q: %w", path, r.err)
	}
	return s, nil
}

// OOMKills is how many processes the kernel killed for memory in a cgroup; 0
// where nobody counts. A cgroup that is not there is ErrNotFound.
func (h *Host) OOMKills(path string) (uint64, error) {
	if err := checkPath(path); err != nil {
		return 0, err
	}
	file := "memory.oom_control"
	if h.Version == 2 {
		file = "memory.events"
	}
	dir := h.dir("memory", path)
	if dir == "" {
		return 0, nil
	}
	n, err := keyed(filepath.Join(dir, file), "oom_kill")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("cgroup %q: %w", path, errdefs.ErrNotFound)
	}
	return n, err
}

// keyed reads one number of a file of lines "key number".
func keyed(path, key string) (uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var n uint64
	eachLine(data, func(k []byte, v uint64) {
		if string(k) == key {
			n = v
		}
	})
	return n, nil
}

func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
