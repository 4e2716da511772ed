package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// Dismiss ends the wait of a monitor that has written an exit down and would run
// its exit command after Config.ExitDelay: it is not run, and the monitor goes.
// It is for whoever has done all that the exit command would do. A monitor that
// does not wait so, or has gone, is left alone: so is an exit command that runs.
//
// The wait is a process of its own, which the monitor has forked and which becomes
// the exit command.
func Dismiss(p record.Process) error {
	mon, err := pidfdOf(p)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = mon.Close() }()
	self := fmt.Sprintf("/proc/%d/", p.Pid)
	program, err := os.Readlink(self + "exe")
	if err != nil {
		return ignoreAbsent(err)
	}
	list, err := os.ReadFile(self + "task/" + strconv.Itoa(p.Pid) + "/children")
	if err != nil {
		return ignoreAbsent(err)
	}
	for _, f := range strings.Fields(string(list)) {
		child, err := strconv.Atoi(f)
		if err == nil {
			err = dismissChild(p.Pid, child, program)
		}
		if err != nil {
			return fmt.Errorf("dismissing monitor %d: %w", p.Pid, err)
		}
	}
	return nil
}

// dismissChild kills a child of a monitor that is the monitor's program still.
func dismissChild(monitor, pid int, program string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor is open: what is read from now on is of that process, or the
	// signal finds none.
	parent, err := record.ProcessParent(pid)
	if err != nil || parent != monitor {
		return nil
	}
	if now, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || now != program {
		return ignoreAbsent(err)
	}
	return ignoreGone(unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
