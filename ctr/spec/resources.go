package spec

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPeriod is the CFS period, in µs, that CPUs are counted in.
const defaultPeriod = 100_000

// Resources are a container's limits. Zero values leave a limit unset.
type Resources struct {
	Memory  Memory            `json:"memory,omitzero"`
	CPU     CPU               `json:"cpu,omitzero"`
	Pids    int64             `json:"pids,omitempty"`    // -1 is unlimited
	Blkio   uint16            `json:"blkio,omitempty"`   // weight, 10 to 1000
	ShmSize int64             `json:"shmSize,omitempty"` // bytes of a /dev/shm that is the container's own; 0 means 64 MiB
	Huge    []HugepageLimit   `json:"hugepages,omitempty"`
	Unified map[string]string `json:"unified,omitempty"` // cgroup v2 files by name
}

// Memory limits, in bytes.
type Memory struct {
	Limit          int64   `json:"limit,omitempty"`
	Reservation    int64   `json:"reservation,omitempty"`
	Swap           int64   `json:"swap,omitempty"` // memory and swap together; -1 is unlimited
	Swappiness     *uint64 `json:"swappiness,omitempty"`
	DisableOOMKill bool    `json:"disableOomKill,omitempty"`
}

// CPU limits. NanoCPUs excludes Quota and Period.
type CPU struct {
	Shares   uint64 `json:"shares,omitempty"`
	Quota    int64  `json:"quota,omitempty"`  // µs a period; -1 is unlimited
	Period   uint64 `json:"period,omitempty"` // µs
	NanoCPUs int64  `json:"nanoCpus,omitempty"`
	Cpus     string `json:"cpus,omitempty"` // cpuset list, "0-3,7"
	Mems     string `json:"mems,omitempty"`
}

// HugepageLimit limits the use of one size of huge pages.
type HugepageLimit struct {
	PageSize string `json:"pageSize"` // "2MB"
	Limit    uint64 `json:"limit"`    // bytes
}

// WithDefaultSwap returns r with swap as large as its memory limit, as docker
// and podman do, when a memory limit is set and swap is not. Only for hosts
// whose kernel accounts for swap.
func (r Resources) WithDefaultSwap() Resources {
	if r.Memory.Limit > 0 && r.Memory.Swap == 0 {
		r.Memory.Swap = 2 * r.Memory.Limit
	}
	return r
}

// With is r with the limits that are set in n in place of its own.
func (r Resources) With(n Resources) Resources {
	m, c := n.Memory, n.CPU
	r.Memory.Limit = cmp.Or(m.Limit, r.Memory.Limit)
	r.Memory.Reservation = cmp.Or(m.Reservation, r.Memory.Reservation)
	r.Memory.Swap = cmp.Or(m.Swap, r.Memory.Swap)
	r.Memory.Swappiness = cmp.Or(m.Swappiness, r.Memory.Swappiness)
	r.Memory.DisableOOMKill = cmp.Or(m.DisableOOMKill, r.Memory.DisableOOMKill)
	if c.NanoCPUs != 0 {
		r.CPU.Quota, r.CPU.Period = 0, 0
	}
	if c.Quota != 0 || c.Period != 0 {
		r.CPU.NanoCPUs = 0
	}
	r.CPU.Shares = cmp.Or(c.Shares, r.CPU.Shares)
	r.CPU.Quota = cmp.Or(c.Quota, r.CPU.Quota)
	r.CPU.Period = cmp.Or(c.Period, r.CPU.Period)
	r.CPU.NanoCPUs = cmp.Or(c.NanoCPUs, r.CPU.NanoCPUs)
	r.CPU.Cpus = cmp.Or(c.Cpus, r.CPU.Cpus)
	r.CPU.Mems = cmp.Or(c.Mems, r.CPU.Mems)
	r.Pids = cmp.Or(n.Pids, r.Pids)
	r.Blkio = cmp.Or(n.Blkio, r.Blkio)
	if len(n.Huge) > 0 {
		r.Huge = slices.Clone(r.Huge)
		for _, h := range n.Huge {
			r.Huge = slices.DeleteFunc(r.Huge, func(old HugepageLimit) bool { return old.PageSize == h.PageSize })
			r.Huge = append(r.Huge, h)
		}
	}
	if len(n.Unified) > 0 {
		r.Unified = maps.Clone(r.Unified)
		if r.Unified == nil {
			r.Unified = map[string]string{}
		}
		maps.Copy(r.Unified, n.Unified)
	}
	return r
}

// Check returns an ErrInvalidArgument for limits that contradict each other
// or that no kernel takes.
func (r Resources) Check() error {
	m, c := r.Memory, r.CPU
	switch {
	case m.Limit < 0:
		return invalidf("memory limit %d is negative: give a size such as 512m, or 0 for none", m.Limit)
	case m.Reservation < 0:
		return invalidf("memory reservation %d is negative: give a size such as 256m, or 0 for none", m.Reservation)
	case m.Limit > 0 && m.Reservation > m.Limit:
		return invalidf("memory reservation %d is above the memory limit %d", m.Reservation, m.Limit)
	case m.Swap < -1:
		return invalidf("memory and swap limit %d is negative: give a size, or -1 for unlimited", m.Swap)
	case m.Swap > 0 && m.Limit == 0:
		return invalidf("a memory and swap limit needs a memory limit too")
	case m.Swap > 0 && m.Swap < m.Limit:
		return invalidf("memory and swap limit %d is below the memory limit %d: it counts both together", m.Swap, m.Limit)
	case m.Swappiness != nil && *m.Swappiness > 100:
		return invalidf("swappiness %d is not between 0 and 100", *m.Swappiness)
	case c.NanoCPUs < 0:
		return invalidf("number of cpus is negative: give a number such as 1.5")
	case c.NanoCPUs > 0 && (c.Quota != 0 || c.Period != 0):
		return invalidf("a number of cpus excludes a cpu quota or period: give one or the other")
	case c.Period != 0 && (c.Period < 1000 || c.Period > 1_000_000):
		return invalidf("cpu period %d is not between 1000 and 1000000 microseconds", c.Period)
	case c.Quota != 0 && c.Quota != -1 && c.Quota < 1000:
		return invalidf("cpu quota %d is below 1000 microseconds; -1 is unlimited", c.Quota)
	case c.NanoCPUs > 0 && c.NanoCPUs < 10_000_000:
		return invalidf("number of cpus is below 0.01, the least that the kernel's scheduler takes")
	case r.Blkio != 0 && (r.Blkio < 10 || r.Blkio > 1000):
		return invalidf("block i/o weight %d is not between 10 and 1000", r.Blkio)
	case r.Pids < -1:
		return invalidf("pids limit %d is negative: give a number, or -1 for unlimited", r.Pids)
	case r.ShmSize < 0:
		return invalidf("size of /dev/shm is negative: give a size such as 64m")
	}
	return r.checkLists()
}

func (r Resources) checkLists() error {
	for _, set := range []struct{ what, list string }{{"cpuset cpus", r.CPU.Cpus}, {"cpuset mems", r.CPU.Mems}} {
		if err := checkCPUSet(set.what, set.list); err != nil {
			return err
		}
	}
	for key := range r.Unified {
		if key == "" || strings.ContainsAny(key, "/ \n\t") || !strings.Contains(key, ".") || strings.HasPrefix(key, ".") || hasControl(key) {
			return invalidf("%q is not the name of a cgroup file: give one such as memory.high", key)
		}
	}
	return nil
}

func checkCPUSet(what, list string) error {
	if list == "" {
		return nil
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		from, err := strconv.ParseUint(first, 10, 16)
		to := from
		if err == nil && ranged {
			to, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || to < from {
			return invalidf("%s %q is not a list of numbers and ranges such as 0-3,7", what, list)
		}
	}
	return nil
}

// Linux returns the limits in the runtime spec's form, also for a running
// container's update; limits that are not set are absent.
func (r Resources) Linux() *specs.LinuxResources {
	out := &specs.LinuxResources{Memory: r.Memory.linux(), CPU: r.CPU.linux()}
	if r.Pids != 0 {
		out.Pids = &specs.LinuxPids{Limit: new(r.Pids)}
	}
	if r.Blkio != 0 {
		out.BlockIO = &specs.LinuxBlockIO{Weight: new(r.Blkio)}
	}
	for _, h := range r.Huge {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.PageSize, Limit: h.Limit})
	}
	slices.SortFunc(out.HugepageLimits, func(a, b specs.LinuxHugepageLimit) int {
		return strings.Compare(a.Pagesize, b.Pagesize)
	})
	out.Unified = maps.Clone(r.Unified)
	return out
}

func (m Memory) linux() *specs.LinuxMemory {
	if m == (Memory{}) {
		return nil
	}
	out := &specs.LinuxMemory{Swappiness: m.Swappiness}
	if m.Limit != 0 {
		out.Limit = new(m.Limit)
	}
	if m.Reservation != 0 {
		out.Reservation = new(m.Reservation)
	}
	if m.Swap != 0 {
		out.Swap = new(m.Swap)
	}
	if m.DisableOOMKill {
		out.DisableOOMKiller = new(true)
	}
	return out
}

func (c CPU) linux() *specs.LinuxCPU {
	if c == (CPU{}) {
		return nil
	}
	out := &specs.LinuxCPU{Cpus: c.Cpus, Mems: c.Mems}
	if c.Shares != 0 {
		out.Shares = new(c.Shares)
	}
	if c.NanoCPUs != 0 {
		out.Quota = new(c.NanoCPUs / (1_000_000_000 / defaultPeriod))
		out.Period = new(uint64(defaultPeriod))
	}
	if c.Quota != 0 {
		out.Quota = new(c.Quota)
	}
	if c.Period != 0 {
		out.Period = new(c.Period)
	}
	return out
}
