package record

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// stopPatience is how long a lock is waited for whose holder is stopped.
const stopPatience = 5 * time.Second

// Patience tells those who wait for a lock that they wait in vain: its holder is
// alive, and does not run. What a process that runs takes for its work is no
// matter of Patience's. The zero value is ready; one is for one wait.
type Patience struct {
	pid   int
	since time.Time // when it was first seen stopped
	next  time.Time // when to look again
}

// Over says whether the process has been stopped for as long as one waits for that:
// by a signal (SIGSTOP, a terminal's ^Z), or frozen with its cgroup. It is to be
// asked again and again; 0 is a process that is not known.
func (p *Patience) Over(pid int) bool {
	now := time.Now()
	switch {
	case !halted(pid):
		p.since = time.Time{}
	case p.since.IsZero() || p.pid != pid:
		p.pid, p.since = pid, now
	}
	return !p.since.IsZero() && now.Sub(p.since) >= stopPatience
}

// Look is Over for whoever has the flock on an open file, which is looked for now and
// then: its pid if it has been stopped that long, else 0. Forks of davit that keep the lock
// of a dead holder are killed.
func (p *Patience) Look(fd int) (stopped int) {
	now := time.Now()
	if now.Before(p.next) {
		return 0
	}
	p.next = now.Add(pauseLax)
	pid := lockHolder(fd)
	if p.Over(pid) {
		return pid
	}
	endForks(fd, pid)
	return 0
}

// turn is how long BeginInTurns waits before it has its caller look.
const turn = 200 * time.Millisecond

// BeginInTurns is Begin for those who may have to do something about the operation that
// they wait for: look is called with it between two turns of waiting, each a fifth of a
// second long; it is the zero Holder while that is not written down yet. An error of look's
// ends the waiting and is returned as it is.
func (d *Dir[C, S]) BeginInTurns(ctx context.Context, id, kind string, look func(Holder) error) (*Op, error) {
	var patience Patience
	for {
		waiting, cancel := context.WithTimeout(ctx, turn)
		op, err := d.Begin(waiting, id, kind)
		cancel()
		var busy *BusyError
		switch {
		case err == nil, !errors.As(err, &busy), ctx.Err() != nil:
			return op, err
		case patience.Over(busy.Holder.Pid):
			busy.Stopped, busy.cause = busy.Holder.Pid, nil
			return nil, err
		}
		if err := look(busy.Holder); err != nil {
			return nil, err
		}
	}
}

// halted says whether a process is stopped or frozen.
func halted(pid int) bool {
	st, err := processStat(pid)
	if err != nil {
		return false
	}
	if st.state == 'T' {
		return true
	}
	wchan, _ := readFile("/proc/" + strconv.Itoa(pid) + "/wchan")
	switch string(wchan) {
	case "__refrigerator", "do_freezer_trap": // of cgroup version 1 and 2
		return true
	}
	return false
}

// lockHolder is the pid of the process that has taken the flock on an open file; 0
// when nobody has it, or nobody who can be seen from here. Of those who share a
// lock it is one.
func lockHolder(fd int) int {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	data, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	// 1: FLOCK  ADVISORY  WRITE 4711 00:1a:5678 0 EOF; who waits has a -> before FLOCK
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		f := bytes.Fields(lines.Bytes())
		if len(f) < 6 || string(f[1]) != "FLOCK" || string(f[5]) != file {
			continue
		}
		if pid, err := strconv.Atoi(string(f[4])); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}

// Lock takes a flock on a file, exclusively, for work that is short: it waits until
// it has it, or returns a [*BusyError] about what when the process that has it is
// stopped. It ends with the file.
func Lock(f *os.File, what string) error {
	notify := f.Name()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		notify = "" // of a folder nobody hears that it was closed
	}
	err := waitLock(never{}, int(f.Fd()), unix.LOCK_EX, notify)
	if errors.Is(err, errLocked) {
		return (&BusyError{ID: what}).because(never{}, err)
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", what, err)
	}
	return nil
}

// stoppedError is an errLocked of a lock whose holder does not run.
type stoppedError struct{ pid int }

func (e *stoppedError) Error() string {
	return fmt.Sprintf("locked by process %d, which is stopped", e.pid)
}
func (e *stoppedError) Unwrap() error { return errLocked }
