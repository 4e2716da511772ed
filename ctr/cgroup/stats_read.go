package cgroup

import (
	"bytes"
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is what cpuacct.stat counts in, on every architecture of Linux.
const tick = uint64(time.Second / 100)

// unlimited is where version 1's memory limits begin to mean none.
const unlimited = math.MaxInt64 - 1<<20

func (r *reader) stats1(s *Stats, full bool) {
	s.CPU.Usage = r.number("cpuacct", "cpuacct.usage")
	var memsw uint64
	m := &s.Memory
	m.Usage = r.number("memory", "memory.usage_in_bytes")
	r.table("memory", "memory.stat", map[string]*uint64{
		"hierarchical_memory_limit": &m.Limit, "hierarchical_memsw_limit": &memsw,
		"total_rss": &m.RSS, "total_cache": &m.Cache, "total_mapped_file": &m.Mapped, "total_swap": &m.Swap,
		"total_pgfault": &m.PageFaults, "total_pgmajfault": &m.MajorPageFaults,
		"pgfault": &m.OwnPageFaults, "pgmajfault": &m.OwnMajorFaults,
		"total_active_anon": &m.ActiveAnon, "total_inactive_anon": &m.InactiveAnon,
		"total_active_file": &m.ActiveFile, "total_inactive_file": &m.InactiveFile,
	})
	if m.Limit >= unlimited {
		m.Limit = 0
	} else if memsw < unlimited && memsw > m.Limit {
		m.SwapLimit = memsw - m.Limit
	}
	m.WorkingSet = less(m.Usage, m.InactiveFile)
	if !full {
		return
	}
	r.table("cpuacct", "cpuacct.stat", map[string]*uint64{"user": &s.CPU.User, "system": &s.CPU.System})
	s.CPU.User, s.CPU.System = s.CPU.User*tick, s.CPU.System*tick
	r.table("cpu", "cpu.stat", map[string]*uint64{
		"nr_periods": &s.CPU.Periods, "nr_throttled": &s.CPU.ThrottledPeriods, "throttled_time": &s.CPU.Throttled,
	})
	m.MaxUsage = r.number("memory", "memory.max_usage_in_bytes")
	m.Failures = r.number("memory", "memory.failcnt")
	m.Kernel = r.number("memory", "memory.kmem.usage_in_bytes")
	r.table("memory", "memory.oom_control", map[string]*uint64{"oom_kill": &m.OOMKills})
	s.Pids.Current, s.Pids.Limit = r.number("pids", "pids.current"), r.number("pids", "pids.max")
	r.blkio(&s.IO, []string{"blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"},
		func(d *DeviceStats) (reads, writes *uint64) { return &d.ReadBytes, &d.WriteBytes })
	r.blkio(&s.IO, []string{"blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"},
		func(d *DeviceStats) (reads, writes *uint64) { return &d.ReadOps, &d.WriteOps })
	s.IO.sum()
	for _, size := range r.h.hugePages {
		s.Huge = append(s.Huge, HugeStats{
			Size: size, Usage: r.number("hugetlb", "hugetlb."+size+".usage_in_bytes"), Max: r.number("hugetlb", "hugetlb."+size+".max_usage_in_bytes"),
		})
	}
}

func (r *reader) stats2(s *Stats, full bool) {
	c := &s.CPU
	r.table("", "cpu.stat", map[string]*uint64{
		"usage_usec": &c.Usage, "user_usec": &c.User, "system_usec": &c.System,
		"throttled_usec": &c.Throttled, "nr_periods": &c.Periods, "nr_throttled": &c.ThrottledPeriods,
	})
	for _, n := range []*uint64{&c.Usage, &c.User, &c.System, &c.Throttled} {
		*n *= uint64(time.Microsecond)
	}
	m := &s.Memory
	m.Usage, m.Limit = r.number("", "memory.current"), r.number("", "memory.max")
	r.table("", "memory.stat", map[string]*uint64{
		"anon": &m.RSS, "file": &m.Cache, "file_mapped": &m.Mapped, "kernel": &m.Kernel,
		"pgfault": &m.PageFaults, "pgmajfault": &m.MajorPageFaults,
		"active_anon": &m.ActiveAnon, "inactive_anon": &m.InactiveAnon, "active_file": &m.ActiveFile, "inactive_file": &m.InactiveFile,
		"anon_thp": &m.AnonTHP, "file_thp": &m.FileTHP, "shmem_thp": &m.ShmemTHP,
	})
	m.OwnPageFaults, m.OwnMajorFaults = m.PageFaults, m.MajorPageFaults // it does not tell them apart
	m.Swap, m.SwapLimit = r.number("", "memory.swap.current"), r.number("", "memory.swap.max")
	m.WorkingSet = less(m.Usage, m.InactiveFile)
	s.Pressure = r.pressure()
	if !full {
		return
	}
	m.MaxUsage = r.number("", "memory.peak")
	r.table("", "memory.events", map[string]*uint64{"oom_kill": &m.OOMKills, "max": &m.Failures})
	s.Pids.Current, s.Pids.Limit = r.number("", "pids.current"), r.number("", "pids.max")
	r.ioStat(&s.IO)
	for _, size := range r.h.hugePages {
		s.Huge = append(s.Huge, HugeStats{Size: size, Usage: r.number("", "hugetlb."+size+".current")})
	}
}

// firstRead holds each of the files that are read often, so that one read does.
const firstRead = 8 << 10

// reader reads a cgroup's files and keeps the first error that is not the
// absence of a file: kernels differ in what they have. The kernel makes such a
// file's text in one piece, so that a read which does not fill the buffer has all
// of it: three system calls a file.
type reader struct {
	h     *Host
	path  string
	buf   []byte
	found int // files that were there
	err   error
}

// text is good until the next one.
func (r *reader) text(controller, file string) []byte {
	dir := r.h.dir(controller, r.path)
	if dir == "" {
		return nil
	}
	fd, err := openFile(dir + "/" + file)
	if err != nil {
		r.failed(dir+"/"+file, err)
		return nil
	}
	defer unix.Close(fd)
	r.found++
	n := 0
	for {
		got, err := unix.Read(fd, r.buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			r.failed(dir+"/"+file, err)
			return nil
		}
		if n += got; n < len(r.buf) {
			return r.buf[:n]
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
}

func openFile(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// failed keeps an error; that of a file which is not there, or which this kernel
// does not fill (psi=0), is none.
func (r *reader) failed(path string, err error) {
	if r.err == nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, errNoDevice) && !errors.Is(err, unix.EOPNOTSUPP) {
		r.err = &os.PathError{Op: "reading", Path: path, Err: err}
	}
}

// number reads a file of one number; "max" is 0.
func (r *reader) number(controller, file string) uint64 {
	n, _ := digits(bytes.TrimSpace(r.text(controller, file)))
	return n
}

// table reads the numbers that are wanted of a file of lines "key number".
func (r *reader) table(controller, file string, want map[string]*uint64) {
	eachLine(r.text(controller, file), func(key []byte, n uint64) {
		if p := want[string(key)]; p != nil {
			*p = n
		}
	})
}

// eachLine calls f for each line "key number"; others are left out.
func eachLine(text []byte, f func(key []byte, n uint64)) {
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if n, ok := digits(value); ok {
			f(key, n)
		}
	}
}

// digits reads a number without making a string of it.
func digits(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(b) > 0
}

// blkio adds the reads and writes of the first of the files that is there.
func (r *reader) blkio(s *IOStats, files []string, of func(*DeviceStats) (reads, writes *uint64)) {
	for _, file := range files {
		text := r.text("blkio", file)
		if len(text) == 0 {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) != 3 {
				continue
			}
			n, _ := strconv.ParseUint(f[2], 10, 64) // the kernel writes a number
			reads, writes := of(s.device(f[0]))
			switch f[1] {
			case "Read":
				*reads += n
			case "Write":
				*writes += n
			}
		}
		return
	}
}

func (r *reader) ioStat(s *IOStats) {
	for line := range strings.Lines(string(r.text("", "io.stat"))) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		d := s.device(f[0])
		for _, kv := range f[1:] {
			key, value, _ := strings.Cut(kv, "=")
			n, _ := strconv.ParseUint(value, 10, 64)
			switch key {
			case "rbytes":
				d.ReadBytes = n
			case "wbytes":
				d.WriteBytes = n
			case "rios":
				d.ReadOps = n
			case "wios":
				d.WriteOps = n
			}
		}
	}
	s.sum()
}

// device is the entry of a device, made when it is new.
func (s *IOStats) device(numbers string) *DeviceStats {
	i := slices.IndexFunc(s.Devices, func(d DeviceStats) bool { return d.Device == numbers })
	if i < 0 {
		i = len(s.Devices)
		s.Devices = append(s.Devices, DeviceStats{Device: numbers})
	}
	return &s.Devices[i]
}

func (s *IOStats) sum() {
	for _, d := range s.Devices {
		s.ReadBytes += d.ReadBytes
		s.WriteBytes += d.WriteBytes
		s.ReadOps += d.ReadOps
		s.WriteOps += d.WriteOps
	}
}

// hugePageSizes are those that the machine has, as cgroup files name them.
func hugePageSizes() []string {
	entries, err := os.ReadDir("/sys/kernel/mm/hugepages")
	if err != nil {
		return nil // a kernel without them
	}
	var out []string
	for _, e := range entries {
		text, _ := strings.CutPrefix(e.Name(), "hugepages-")
		kib, err := strconv.ParseUint(strings.TrimSuffix(text, "kB"), 10, 64)
		if err != nil {
			continue
		}
		switch {
		case kib >= 1<<20:
			out = append(out, strconv.FormatUint(kib>>20, 10)+"GB")
		case kib >= 1<<10:
			out = append(out, strconv.FormatUint(kib>>10, 10)+"MB")
		default:
			out = append(out, strconv.FormatUint(kib, 10)+"KB")
		}
	}
	return out
}
