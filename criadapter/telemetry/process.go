package telemetry

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ticks is how many clock ticks a second /proc counts in, on every architecture
// that Go knows.
const ticks = 100

// writeProcess writes what the kernel and Go's runtime tell of this process, by
// the names that Prometheus' own clients use. What cannot be read is left out.
func writeProcess(t *text) {
	one := func(name, kind, help string, value float64) {
		t.family(name, kind, help)
		t.sample(name, value)
	}
	if stat := procStat(); len(stat) > 21 {
		// proc_pid_stat(5), counted from the field after the name.
		one("process_cpu_seconds_total", "counter", "User and system CPU time, in seconds.", (stat[11]+stat[12])/ticks)
		one("process_virtual_memory_bytes", "gauge", "Virtual memory, in bytes.", stat[20])
		one("process_resident_memory_bytes", "gauge", "Resident memory, in bytes.", stat[21]*float64(os.Getpagesize()))
		if boot := bootTime(); boot > 0 {
			one("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.", boot+stat[19]/ticks)
		}
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		one("process_open_fds", "gauge", "Open file descriptors.", float64(len(fds)-1)) // one is the folder's
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		one("process_max_fds", "gauge", "The most file descriptors that may be open.", float64(limit.Cur))
	}
	one("go_goroutines", "gauge", "Goroutines that exist.", float64(runtime.NumGoroutine()))
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Kind() == metrics.KindUint64 {
		one("go_memstats_heap_alloc_bytes", "gauge", "Memory of the heap's objects, in bytes.", float64(heap[0].Value.Uint64()))
	}
}

// procStat are the numbers of /proc/self/stat after the name and the state, which
// counts as one; nil where it cannot be read.
func procStat() []float64 {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return nil
	}
	_, rest, _ := bytes.Cut(data[bytes.LastIndexByte(data, ')')+1:], []byte(" "))
	var out []float64
	for _, f := range bytes.Fields(rest) {
		n, _ := strconv.ParseFloat(string(f), 64) // the state's letter is 0
		out = append(out, n)
	}
	return out
}

// bootTime is when the machine started, in seconds since 1970; 0 if unknown.
func bootTime() float64 {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "\nbtime ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseFloat(line, 64)
	return n
}
