package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Process names a process, which a pid alone does not: it may be another's by now. The
// zero value names none.
type Process struct {
	Pid   int
	Start uint64 // in clock ticks since boot: proc_pid_stat(5), starttime
}

// ProcessOf is the process that has a pid. One that is not there is ErrNotFound.
func ProcessOf(pid int) (Process, error) {
	st, err := processStat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{Pid: pid, Start: st.start}, nil
}

// Is tells whether the process has its pid still. One that has exited and is not
// reaped yet has.
func (p Process) Is() bool {
	st, err := processStat(p.Pid)
	return err == nil && st.start == p.Start
}

// Alive tells whether the process runs. One that has exited and is not reaped yet
// does not.
func (p Process) Alive() bool {
	st, err := processStat(p.Pid)
	if err != nil || st.start != p.Start {
		return false
	}
	// The first thread of a process may end before the others.
	dead := st.state == 'Z' || st.state == 'X'
	return !dead || st.threads > 1
}

// ticks is the unit of Start in a second, USER_HZ, on all architectures that Go runs on.
const ticks = 100

// Age is how long ago the process was made: by the clock of the boot, which nobody sets.
func (p Process) Age() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("reading the clock of the boot: %w", err)
	}
	return time.Duration(now.Nano()) - time.Duration(p.Start)*(time.Second/ticks), nil
}

// Halted tells whether the process is stopped by a signal, or frozen with its cgroup:
// it is alive, and answers nobody.
func (p Process) Halted() bool { return halted(p.Pid) }

// ProcessParent is the pid of a process's parent. A process that is not there is
// ErrNotFound.
func ProcessParent(pid int) (int, error) {
	st, err := processStat(pid)
	return st.parent, err
}

// ProcessReaped tells whether a process has ever reaped a child. A process that is not
// there is ErrNotFound.
func ProcessReaped(pid int) (bool, error) {
	st, err := processStat(pid)
	return st.reaped, err
}

type stat struct {
	parent  int
	reaped  bool
	state   byte
	threads int
	start   uint64
}

// processStat reads /proc/<pid>/stat, see proc(5). The second field is a name
// in parentheses, which may hold anything.
func processStat(pid int) (stat, error) {
	if pid <= 0 {
		return stat{}, notFoundf("process %d", pid)
	}
	data, err := readFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, notFoundf("process %d", pid)
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return stat{}, fmt.Errorf("reading /proc/%d/stat: %w", pid, errdefs.ErrUnavailable)
	}
	threads, err := strconv.Atoi(string(fields[17]))
	if err != nil {
		return stat{}, fmt.Errorf("reading /proc/%d/stat: %w", pid, err)
	}
	parent, perr := strconv.Atoi(string(fields[1]))
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err = errors.Join(perr, err); err != nil {
		return stat{}, fmt.Errorf("reading /proc/%d/stat: %w", pid, err)
	}
	// Whatever has run has had page faults, which its parent is charged with then.
	reaped := string(fields[8]) != "0" || string(fields[10]) != "0"
	return stat{parent: parent, reaped: reaped, state: fields[0][0], threads: threads, start: start}, nil
}

// currentMountNS is the inode of this process's mount namespace, "" if it
// cannot be read.
func currentMountNS() string {
	link, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(link, "mnt:["), "]")
}

// CheckMountNS returns ErrFailedPrecondition, in words, when the object's
// engine lives in another mount namespace than this process: what it mounted
// is not to be seen from here.
func CheckMountNS(m Meta) error {
	here := currentMountNS()
	if m.MountNS == "" || here == "" || m.MountNS == here {
		return nil
	}
	return fmt.Errorf("%q belongs to mount namespace %s, and this process is in %s: %w",
		m.ID, m.MountNS, here, errdefs.ErrFailedPrecondition)
}
