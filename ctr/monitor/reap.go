package monitor

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// ReapStrays reaps, until ctx ends, children of this process that nobody else
// waits for. A long-lived process that is a subreaper inherits such ones:
// monitors of containers that it did not start, and what killed runtimes leave
// behind, or exec'd processes in the host's PID namespace. Such a child leads a
// session, or is in one, that is not this process's, which the programs that it
// runs and waits for itself are not; owned, which may be nil, tells of those in
// other sessions that somebody waits for. It counts as a stray when it has been
// dead for a whole grace time, so that nobody is robbed who is about to say that
// it is his. It looks only after a child has died (SIGCHLD).
func ReapStrays(ctx context.Context, grace time.Duration, owned func(pid int) bool) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	dead := reapOnce(nil, owned)
	var again <-chan time.Time
	for {
		if again == nil && len(dead) > 0 {
			again = time.After(grace)
		}
		select {
		case <-ctx.Done():
			return
		case <-died:
			if again == nil {
				again = time.After(grace)
			}
		case <-again:
			again, dead = nil, reapOnce(dead, owned)
		}
	}
}

// reapOnce reaps the children that were dead before, and returns those that are
// dead now, by pid with their start.
func reapOnce(before map[int]record.Process, owned func(pid int) bool) map[int]record.Process {
	now := map[int]record.Process{}
	session, err := unix.Getsid(0)
	if err != nil {
		return now
	}
	for _, pid := range childrenOf(os.Getpid()) {
		if sid, err := unix.Getsid(pid); err != nil || sid == session || owned != nil && owned(pid) {
			continue
		}
		p, err := record.ProcessOf(pid)
		if err != nil || p.Alive() {
			continue
		}
		if was, ok := before[pid]; ok && was == p {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			continue
		}
		now[pid] = p
	}
	return now
}
