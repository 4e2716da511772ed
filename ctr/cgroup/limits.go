package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Set sets the limits of a cgroup that are set in res, and leaves the others.
// Devices are the runtime's and are not looked at. A limit whose controller the
// host has not is ErrFailedPrecondition and names it, a value that the kernel
// refuses ErrInvalidArgument.
func (h *Host) Set(path string, res *specs.LinuxResources) error {
	if res == nil {
		return nil
	}
	if err := checkPath(path); err != nil {
		return err
	}
	w := &writer{h: h, path: path}
	if h.Version == 2 {
		w.version2(res)
	} else {
		w.version1(res)
	}
	if w.err != nil {
		return fmt.Errorf("setting limits of cgroup %q: %w", path, w.err)
	}
	return nil
}

// writer writes a cgroup's files until one write fails.
type writer struct {
	h    *Host
	path string
	err  error
}

// put writes a value, once nothing has failed.
func (w *writer) put(controller, file, value string) {
	if w.err == nil {
		w.err = w.try(controller, file, value)
	}
}

func (w *writer) try(controller, file, value string) error {
	dir := w.h.dir(controller, w.path)
	if dir == "" {
		return missing(controller)
	}
	name := filepath.Join(dir, file)
	err := writeFile(name, value)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", file, missing(controller))
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return fmt.Errorf("the kernel refuses %s %q: %w", file, value, errdefs.ErrInvalidArgument)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s %q is below what is in use: %w", file, value, errdefs.ErrFailedPrecondition)
	case err != nil:
		return access(controller, name, err)
	}
	return nil
}

func missing(controller string) error {
	return fmt.Errorf("the host has no cgroup controller %q: %w", controller, errdefs.ErrFailedPrecondition)
}

func number[T int64 | uint64 | uint32 | uint16](v T) string { return fmt.Sprint(v) }

// limit writes -1 and 0 as the kernel's word for none.
func limit(v int64) string {
	if v <= 0 {
		return "max"
	}
	return strconv.FormatInt(v, 10)
}

func (w *writer) version1(res *specs.LinuxResources) {
	w.cpu1(res.CPU)
	w.memory1(res.Memory)
	if p := res.Pids; p != nil && p.Limit != nil {
		w.put("pids", "pids.max", limit(*p.Limit))
	}
	for _, l := range res.HugepageLimits {
		w.put("hugetlb", "hugetlb."+l.Pagesize+".limit_in_bytes", number(l.Limit))
	}
	b := res.BlockIO
	if b == nil {
		return
	}
	if b.Weight != nil {
		w.weight1(*b.Weight)
	}
	for _, t := range []struct {
		file    string
		devices []specs.LinuxThrottleDevice
	}{
		{"blkio.throttle.read_bps_device", b.ThrottleReadBpsDevice},
		{"blkio.throttle.write_bps_device", b.ThrottleWriteBpsDevice},
		{"blkio.throttle.read_iops_device", b.ThrottleReadIOPSDevice},
		{"blkio.throttle.write_iops_device", b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.devices {
			w.put("blkio", t.file, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate))
		}
	}
}

// weight1 writes the weight of whichever scheduler the kernel has.
func (w *writer) weight1(weight uint16) {
	if w.err != nil {
		return
	}
	if w.err = w.try("blkio", "blkio.weight", number(weight)); errdefs.IsFailedPrecondition(w.err) {
		w.err = w.try("blkio", "blkio.bfq.weight", number(weight))
	}
}

func (w *writer) cpu1(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	if c.Shares != nil && *c.Shares != 0 {
		w.put("cpu", "cpu.shares", number(*c.Shares))
	}
	if c.Period != nil && *c.Period != 0 && w.err == nil {
		// The old quota may not go with the new period: then it goes first.
		err := w.try("cpu", "cpu.cfs_period_us", number(*c.Period))
		if err != nil && c.Quota != nil && *c.Quota != 0 {
			w.put("cpu", "cpu.cfs_quota_us", number(*c.Quota))
			w.put("cpu", "cpu.cfs_period_us", number(*c.Period))
		} else {
			w.err = err
		}
	}
	if c.Quota != nil && *c.Quota != 0 {
		w.put("cpu", "cpu.cfs_quota_us", number(*c.Quota))
	}
	if c.Burst != nil {
		w.put("cpu", "cpu.cfs_burst_us", number(*c.Burst))
	}
	if c.RealtimePeriod != nil && *c.RealtimePeriod != 0 {
		w.put("cpu", "cpu.rt_period_us", number(*c.RealtimePeriod))
	}
	if c.RealtimeRuntime != nil && *c.RealtimeRuntime != 0 {
		w.put("cpu", "cpu.rt_runtime_us", number(*c.RealtimeRuntime))
	}
	if c.Idle != nil {
		w.put("cpu", "cpu.idle", number(*c.Idle))
	}
	if c.Cpus != "" {
		w.put("cpuset", "cpuset.cpus", c.Cpus)
	}
	if c.Mems != "" {
		w.put("cpuset", "cpuset.mems", c.Mems)
	}
}

func (w *writer) memory1(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	const file, swapFile = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	swap := m.Swap
	if m.Limit != nil && *m.Limit == -1 && swap == nil {
		// No memory limit is no limit of memory and swap either.
		swap = m.Limit
	}
	both := m.Limit != nil && *m.Limit != 0 && swap != nil && *swap != 0
	if both && w.err == nil {
		// The sum may never be below the memory limit: which one is first
		// depends on which way they move.
		current, _ := readString(filepath.Join(w.h.dir("memory", w.path), file))
		now, _ := strconv.ParseUint(current, 10, 64)
		if *swap == -1 || (*swap > 0 && now < uint64(*swap)) {
			w.swap1(swapFile, *swap, *m.Limit)
			w.put("memory", file, number(*m.Limit))
		} else {
			w.put("memory", file, number(*m.Limit))
			w.swap1(swapFile, *swap, *m.Limit)
		}
	} else {
		if m.Limit != nil && *m.Limit != 0 {
			w.put("memory", file, number(*m.Limit))
		}
		if swap != nil && *swap != 0 {
			w.swap1(swapFile, *swap, 0)
		}
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		w.put("memory", "memory.soft_limit_in_bytes", number(*m.Reservation))
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		w.put("memory", "memory.oom_control", "1")
	}
	if m.Swappiness != nil {
		w.put("memory", "memory.swappiness", number(*m.Swappiness))
	}
}

// swap1 sets the limit of memory and swap together. A kernel that does not
// count swap (no CONFIG_SWAP, swapaccount=0) has no such file: then a limit
// equal to the memory's, and none, hold anyway.
func (w *writer) swap1(file string, swap, memory int64) {
	if w.err != nil {
		return
	}
	err := w.try("memory", file, number(swap))
	if errdefs.IsFailedPrecondition(err) && (swap == -1 || swap == memory) {
		if _, serr := os.Lstat(filepath.Join(w.h.dir("memory", w.path), file)); errors.Is(serr, fs.ErrNotExist) {
			return
		}
	}
	w.err = err
}

func (w *writer) version2(res *specs.LinuxResources) {
	w.cpu2(res.CPU)
	w.memory2(res.Memory)
	if p := res.Pids; p != nil && p.Limit != nil {
		w.put("pids", "pids.max", limit(*p.Limit))
	}
	for _, l := range res.HugepageLimits {
		w.put("hugetlb", "hugetlb."+l.Pagesize+".max", number(l.Limit))
	}
	w.io2(res.BlockIO)
	keys := make([]string, 0, len(res.Unified))
	for k := range res.Unified {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		controller, _, ok := strings.Cut(k, ".")
		if !ok || strings.ContainsAny(k, "/\x00") || controller == "cgroup" {
			w.err = fmt.Errorf("%q is no limit of a controller: %w", k, errdefs.ErrInvalidArgument)
			return
		}
		w.put(controller, k, res.Unified[k])
	}
}

func (w *writer) cpu2(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	if c.Shares != nil && *c.Shares != 0 {
		w.put("cpu", "cpu.weight", number(Weight(*c.Shares)))
	}
	if (c.Quota != nil && *c.Quota != 0) || (c.Period != nil && *c.Period != 0) {
		value := "max"
		if c.Quota != nil && *c.Quota > 0 {
			value = number(*c.Quota)
		}
		if c.Period != nil && *c.Period != 0 {
			value += " " + number(*c.Period)
		}
		w.put("cpu", "cpu.max", value)
	}
	if c.Burst != nil {
		w.put("cpu", "cpu.max.burst", number(*c.Burst))
	}
	if c.Idle != nil {
		w.put("cpu", "cpu.idle", number(*c.Idle))
	}
	if c.Cpus != "" {
		w.put("cpuset", "cpuset.cpus", c.Cpus)
	}
	if c.Mems != "" {
		w.put("cpuset", "cpuset.mems", c.Mems)
	}
}

func (w *writer) memory2(m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	if m.Swap != nil && *m.Swap != 0 {
		// The spec's swap is memory and swap together, version 2's is not.
		switch {
		case *m.Swap == -1:
			w.put("memory", "memory.swap.max", "max")
		case m.Limit == nil || *m.Limit <= 0 || *m.Swap < *m.Limit:
			if w.err == nil {
				w.err = fmt.Errorf("a limit of memory and swap (%d) needs a memory limit not above it: %w", *m.Swap, errdefs.ErrInvalidArgument)
			}
		default:
			w.put("memory", "memory.swap.max", number(*m.Swap-*m.Limit))
		}
	}
	if m.Limit != nil && *m.Limit != 0 {
		w.put("memory", "memory.max", limit(*m.Limit))
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		w.put("memory", "memory.low", limit(*m.Reservation))
	}
}

func (w *writer) io2(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	if b.Weight != nil && *b.Weight != 0 && w.err == nil {
		// blkio's 10..1000 is io's 1..10000.
		weight := 1 + (uint64(max(*b.Weight, 10))-10)*9999/990
		if w.err = w.try("io", "io.bfq.weight", number(*b.Weight)); errdefs.IsFailedPrecondition(w.err) {
			w.err = w.try("io", "io.weight", number(weight))
		}
	}
	for _, t := range []struct {
		key     string
		devices []specs.LinuxThrottleDevice
	}{
		{"rbps", b.ThrottleReadBpsDevice}, {"wbps", b.ThrottleWriteBpsDevice},
		{"riops", b.ThrottleReadIOPSDevice}, {"wiops", b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.devices {
			w.put("io", "io.max", fmt.Sprintf("%d:%d %s=%d", d.Major, d.Minor, t.key, d.Rate))
		}
	}
}

// Weight is the version 2 CPU weight (1 to 10000) of version 1 shares (2 to
// 262144), as Kubernetes and the runtimes convert it.
func Weight(shares uint64) uint64 {
	shares = min(max(shares, 2), 262144)
	return 1 + (shares-2)*9999/262142
}
