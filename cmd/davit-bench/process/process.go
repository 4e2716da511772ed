package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sampling is how often Peak looks; a process that is smaller in between counts.
const sampling = 5 * time.Millisecond

// Peak is the greatest memory in MiB that a process and its descendants took at a
// time, until ended is closed. It is sampled: what getrusage(2) tells of a child
// begins with the memory of its parent, whose it was before it executed anything.
func Peak(pid int, ended <-chan struct{}) float64 {
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	peak := 0.0
	for {
		peak = max(peak, PSS(tree(pid)...))
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
	}
}

// tree is a process and its descendants (proc_pid_task(5), children), but for those
// that share its memory until they execute something.
func tree(pid int) []int {
	out := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		data, _ := os.ReadFile(f)
		for _, child := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(child); err == nil && !sameMemory(pid, n) {
				out = append(out, tree(n)...)
			}
		}
	}
	return out
}

// sameMemory tells whether two processes have one address space (kcmp(2)).
func sameMemory(a, b int) bool {
	const vm = 1 // KCMP_VM
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), vm, 0, 0, 0)
	return errno == 0 && r == 0
}

// PSS is the memory of processes in MiB, what several share counted once
// (proc(5), smaps_rollup).
func PSS(pids ...int) float64 {
	total := 0.0
	for _, pid := range pids {
		total += field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
	}
	return total
}

// RSS is the resident memory of a process in MiB.
func RSS(pid int) float64 { return field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") }

// field reads a line of kilobytes of a file in /proc, in MiB; 0 where there is
// none.
func field(path, key string) float64 {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key {
			n, _ := strconv.ParseFloat(f[1], 64)
			return n / 1024
		}
	}
	return 0
}

// CPUTime is what a process has used of CPUs, in the kernel's ticks of 10 ms
// (proc_pid_stat(5), fields 14 and 15).
func CPUTime(pid int) time.Duration {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
