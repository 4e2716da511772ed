package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
}

// CPUStats are totals since the cgroup was made, in nanoseconds.
type CPUStats struct {
	Usage, User, System uint64
	// Throttled is how long its processes were held back, in ThrottledPeriods
	// of Periods.
	Throttled, Periods, ThrottledPeriods uint64
}

// MemoryStats are in bytes, but for the counts of faults and kills.
type MemoryStats struct {
	Usage, MaxUsage uint64
	// Limit is 0 where there is none.
	Limit uint64
	// WorkingSet is Usage without the page cache that is not active: what the
	// kubelet evicts by.
	WorkingSet, RSS, Cache, Mapped uint64
	Swap, SwapLimit                uint64
	PageFaults, MajorPageFaults    uint64
	OOMKills                       uint64
}

// PidStats count tasks; a Limit of 0 is none.
type PidStats struct {
	Current, Limit uint64
}

// IOStats are totals over all block devices.
type IOStats struct {
	ReadBytes, WriteBytes, ReadOps, WriteOps uint64
}

// Stats reads the counters of a cgroup. One that is not there is ErrNotFound.
func (h *Host) Stats(path string) (Stats, error) {
	if err := checkPath(path); err != nil {
		return Stats{}, err
	}
	if _, err := os.Lstat(h.processDir(path)); errors.Is(err, fs.ErrNotExist) {
		return Stats{}, fmt.Errorf("cgroup %q: %w", path, errdefs.ErrNotFound)
	}
	s := Stats{Time: time.Now()}
	read := stats1
	if h.Version == 2 {
		read = stats2
	}
	if err := read(h, path, &s); err != nil {
		return Stats{}, fmt.Errorf("reading counters of cgroup %q: %w", path, err)
	}
	return s, nil
}

// tick is what cpuacct.stat counts in, on every architecture of Linux.
const tick = uint64(time.Second / 100)

// unlimited is where version 1's memory limits begin to mean none.
const unlimited = math.MaxInt64 - 1<<20

func stats1(h *Host, path string, s *Stats) error {
	r := reader{h: h, path: path}
	s.CPU.Usage = r.number("cpuacct", "cpuacct.usage")
	acct := r.table("cpuacct", "cpuacct.stat")
	s.CPU.User, s.CPU.System = acct["user"]*tick, acct["system"]*tick
	cpu := r.table("cpu", "cpu.stat")
	s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.Throttled = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_time"]

	m := r.table("memory", "memory.stat")
	s.Memory = MemoryStats{
		Usage: r.number("memory", "memory.usage_in_bytes"), MaxUsage: r.number("memory", "memory.max_usage_in_bytes"),
		Limit: m["hierarchical_memory_limit"], RSS: m["total_rss"], Cache: m["total_cache"], Mapped: m["total_mapped_file"],
		Swap: m["total_swap"], PageFaults: m["total_pgfault"], MajorPageFaults: m["total_pgmajfault"],
		OOMKills: r.table("memory", "memory.oom_control")["oom_kill"],
	}
	memsw := m["hierarchical_memsw_limit"]
	if s.Memory.Limit >= unlimited {
		s.Memory.Limit = 0
	} else if memsw < unlimited && memsw > s.Memory.Limit {
		s.Memory.SwapLimit = memsw - s.Memory.Limit
	}
	s.Memory.WorkingSet = less(s.Memory.Usage, m["total_inactive_file"])

	s.Pids.Current, s.Pids.Limit = r.number("pids", "pids.current"), r.number("pids", "pids.max")
	s.IO.ReadBytes, s.IO.WriteBytes = r.blkio("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes")
	s.IO.ReadOps, s.IO.WriteOps = r.blkio("blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced")
	return r.err
}

func stats2(h *Host, path string, s *Stats) error {
	r := reader{h: h, path: path}
	cpu := r.table("", "cpu.stat")
	const usec = uint64(time.Microsecond)
	s.CPU = CPUStats{
		Usage: cpu["usage_usec"] * usec, User: cpu["user_usec"] * usec, System: cpu["system_usec"] * usec,
		Throttled: cpu["throttled_usec"] * usec, Periods: cpu["nr_periods"], ThrottledPeriods: cpu["nr_throttled"],
	}
	m := r.table("", "memory.stat")
	s.Memory = MemoryStats{
		Usage: r.number("", "memory.current"), MaxUsage: r.number("", "memory.peak"), Limit: r.number("", "memory.max"),
		RSS: m["anon"], Cache: m["file"], Mapped: m["file_mapped"],
		Swap: r.number("", "memory.swap.current"), SwapLimit: r.number("", "memory.swap.max"),
		PageFaults: m["pgfault"], MajorPageFaults: m["pgmajfault"],
		OOMKills: r.table("", "memory.events")["oom_kill"],
	}
	s.Memory.WorkingSet = less(s.Memory.Usage, m["inactive_file"])
	s.Pids.Current, s.Pids.Limit = r.number("", "pids.current"), r.number("", "pids.max")
	for line := range strings.Lines(r.text("", "io.stat")) {
		for _, f := range strings.Fields(line) {
			key, value, _ := strings.Cut(f, "=")
			n, _ := strconv.ParseUint(value, 10, 64)
			switch key {
			case "rbytes":
				s.IO.ReadBytes += n
			case "wbytes":
				s.IO.WriteBytes += n
			case "rios":
				s.IO.ReadOps += n
			case "wios":
				s.IO.WriteOps += n
			}
		}
	}
	return r.err
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

// reader reads a cgroup's files and keeps the first error that is not the
// absence of a file: kernels differ in what they have.
type reader struct {
	h    *Host
	path string
	err  error
}

func (r *reader) text(controller, file string) string {
	dir := r.h.dir(controller, r.path)
	if dir == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoDevice) && r.err == nil {
		r.err = err
	}
	return string(data)
}

// number reads a file of one number; "max" is 0.
func (r *reader) number(controller, file string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(r.text(controller, file)), 10, 64)
	return n
}

// table reads a file of lines "key number".
func (r *reader) table(controller, file string) map[string]uint64 {
	return parseTable(r.text(controller, file))
}

func parseTable(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			out[key] = n
		}
	}
	return out
}

// blkio sums the reads and writes of the first of the files that is there.
func (r *reader) blkio(files ...string) (reads, writes uint64) {
	for _, file := range files {
		text := r.text("blkio", file)
		if text == "" {
			continue
		}
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) != 3 {
				continue
			}
			n, _ := strconv.ParseUint(f[2], 10, 64)
			switch f[1] {
			case "Read":
				reads += n
			case "Write":
				writes += n
			}
		}
		return reads, writes
	}
	return 0, 0
}

// keyed reads one number of a file of lines "key number".
func keyed(path, key string) (uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return parseTable(string(data))[key], nil
}

func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
