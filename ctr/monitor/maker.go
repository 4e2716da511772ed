package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

const (
	// makerCheck is how often a Create that takes long looks for its runtime.
	makerCheck = 250 * time.Millisecond
	// makerGrace is how long a monitor may take to tell that its runtime has ended.
	makerGrace = time.Second
)

// makerDied is the cause of a Create that is given up as its runtime has died.
type makerDied struct{ runtime string }

// Error implements error.
func (e makerDied) Error() string {
	return fmt.Sprintf("the runtime %q has died and left the container half made", e.runtime)
}

// Unwrap returns the class.
func (makerDied) Unwrap() error { return errdefs.ErrUnavailable }

// watchMaker gives Create up when the runtime has died and the monitor does not say
// so: that reads what the runtime said on stderr, up to its end, which does not come
// while an init that was left waiting to be started holds it open. It returns when
// ctx ends.
func (s *Starting) watchMaker(ctx context.Context, give func(cause error)) {
	tick := time.NewTicker(makerCheck)
	defer tick.Stop()
	for silent := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !makerGone(s.monitor.Pid) {
			silent = 0
			continue
		}
		if silent += makerCheck; silent > makerGrace {
			give(makerDied{s.cfg.Runtime.Path})
			return
		}
	}
}

// makerGone tells whether a monitor has reaped a child and has none any more that
// could be the runtime: that is in the monitor's session, which a container's init
// is not.
func makerGone(monitor int) bool {
	if reaped, err := record.ProcessReaped(monitor); err != nil || !reaped {
		return false
	}
	for _, pid := range childrenOf(monitor) {
		if sid, err := unix.Getsid(pid); err == nil && sid == monitor {
			return false
		}
	}
	return true
}

// killBelow kills what descends from a monitor that is not to go on, and that is a
// child of this process. It is a subreaper: whatever the runtime has left is below it.
// It returns what it has killed.
func killBelow(monitor int) (killed []record.Process) {
	_ = unix.Kill(monitor, unix.SIGSTOP) // it starts nothing more
	for range 32 {
		lives := false
		for all := childrenOf(monitor); len(all) > 0; all = all[1:] {
			pid := all[0]
			if p, err := record.ProcessOf(pid); err == nil && p.Alive() {
				lives = true
				all = append(all, childrenOf(pid)...)
				_ = Signal(p, unix.SIGKILL)
				if !slices.Contains(killed, p) {
					killed = append(killed, p)
				}
			}
		}
		if !lives {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return killed
}

// reap reaps a process that was killed, if it has become a child of this one. One that
// nobody reaps keeps the first process of its PID namespace from ending
// (pid_namespaces(7)).
func reap(killed record.Process) {
	for killed.Is() {
		if _, err := unix.Wait4(killed.Pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// childrenOf lists the children of every thread of a process, see proc(5).
func childrenOf(process int) []int {
	dir := "/proc/" + strconv.Itoa(process) + "/task/"
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var pids []int
	for _, t := range tasks {
		data, err := os.ReadFile(dir + t.Name() + "/children")
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
