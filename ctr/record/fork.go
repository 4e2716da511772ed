package record

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// forkAge is how old a fork is that will become no program any more.
const forkAge = time.Second

// endForks kills what keeps the flock on an open file of a holder that is dead, or that
// cannot be seen: forks of it that share its files still. containers/storage forks a
// process to make a user namespace for a mount, which only its maker ends, and that may
// hang where it cannot know that this has died: its locks would stay for ever.
func endForks(fd, holder int) {
	if p, err := ProcessOf(holder); err == nil && p.Alive() {
		return
	}
	var file unix.Stat_t
	own, err := program("self")
	if err != nil || unix.Fstat(fd, &file) != nil {
		return
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	var forks []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if name, err := program(e.Name()); err != nil || name != own || !keeps(e.Name(), file) {
			continue
		}
		if !isFork(pid) {
			return // it has the lock, or is about to become a program
		}
		forks = append(forks, pid)
	}
	for _, pid := range forks {
		killFork(pid, file)
	}
}

// program is what a process runs, also where another is in its place by now.
func program(pid string) (string, error) {
	path, err := os.Readlink("/proc/" + pid + "/exe")
	return strings.TrimSuffix(path, " (deleted)"), err
}

// isFork tells whether a process has one thread alone, so long after it was forked that it
// will become no program of Go's any more.
func isFork(pid int) bool {
	st, err := processStat(pid)
	if err != nil || st.threads != 1 {
		return false
	}
	age, err := Process{Pid: pid, Start: st.start}.Age()
	return err == nil && age >= forkAge
}

// keeps tells whether a process has a file open by the description that is locked, see
// proc_pid_fdinfo(5).
func keeps(pid string, file unix.Stat_t) bool {
	open, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		return false
	}
	for _, e := range open {
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", pid, "fd", e.Name()), &st) != nil || st.Dev != file.Dev || st.Ino != file.Ino {
			continue
		}
		info, err := os.ReadFile(filepath.Join("/proc", pid, "fdinfo", e.Name()))
		if err == nil && bytes.Contains(info, []byte("FLOCK")) {
			return true
		}
	}
	return false
}

// killFork kills a process that keeps a lock, unless its pid is another's by now.
func killFork(pid int, file unix.Stat_t) {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(handle)
	if isFork(pid) && keeps(fmt.Sprint(pid), file) {
		_ = unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0)
	}
}
