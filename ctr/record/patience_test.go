package record

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containerd/errdefs"
)

// lockRole takes a flock and waits to be killed.
func lockRole(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	fmt.Println("held")
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// A process that has a lock is stopped. Who waits for the lock gives up after a
// while and says which process it is, whatever lock it is; who reads does not wait.
func TestF48HolderStopped(t *testing.T) {
	t.Parallel()
	p := testPaths(t)
	d := testDir(t, p)
	for _, id := range []string{"op", "turns", "status", "removed"} {
		create(t, d, id, id)
	}
	file := t.TempDir() + "/lock"
	must(t, os.WriteFile(file, nil, 0o600))
	removal, err := d.TryBegin("removed", "rm")
	must(t, err)
	ended := func(op *Op, err error) error {
		if err == nil {
			err = op.End()
		}
		return err
	}
	for what, l := range map[string]struct {
		holder *os.Process
		take   func() error
	}{
		"operation": {holder(t, p, "op", "stop", "killing"), func() error { return ended(d.Begin(t.Context(), "op", "rm")) }},
		"turns": {holder(t, p, "turns", "stop", "killing"), func() error {
			return ended(d.BeginInTurns(t.Context(), "turns", "rm", func(Holder) error { return nil }))
		}},
		"status": {started(t, "lock", d.RunDir("status")), func() error {
			_, err := d.Update(t.Context(), "status", func(s state) (state, error) { return s, nil })
			return err
		}},
		"removal": {started(t, "lock", d.RunDir("removed")), func() error { return removal.Remove(t.Context()) }},
		"names":   {started(t, "lock", d.l.names), func() error { return d.Rename(t.Context(), "op", "new") }},
		"window": {started(t, "lock", d.l.run), func() error {
			return ended(d.Create(t.Context(), Meta{ID: "b", Owner: OwnerCLI}, conf{}, state{}, CreateOptions{}))
		}},
		"file": {started(t, "lock", file), func() error {
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			return Lock(f, "the lock")
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			must(t, l.holder.Signal(unix.SIGSTOP))
			began := time.Now()
			for _, read := range []func() error{
				func() error { _, err := d.Get("op"); return err },
				func() error { _, err := d.List(); return err },
				func() error { _, err := d.Resolve(nil, "status"); return err },
				func() error { _, err := d.Dead(); return err },
			} {
				must(t, read())
			}
			if took := time.Since(began); took > stopPatience {
				t.Errorf("reading took %s", took)
			}
			err := l.take()
			wantErr(t, err, errdefs.ErrUnavailable)
			var busy *BusyError
			if !errors.As(err, &busy) || busy.Stopped != l.holder.Pid || !strings.Contains(err.Error(), fmt.Sprintf("process %d", l.holder.Pid)) ||
				!strings.Contains(err.Error(), "stopped") {
				t.Errorf("the holder is process %d: %v", l.holder.Pid, err)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("no context has ended: %v", err)
			}
			if took := time.Since(began); took < stopPatience || took > stopPatience+20*time.Second {
				t.Errorf("gave up after %s", took)
			}
			// One that goes on is waited for again, and frees what it has when it dies.
			must(t, l.holder.Signal(unix.SIGCONT))
			time.AfterFunc(stopPatience+time.Second, func() { _ = l.holder.Kill() })
			must(t, l.take())
		})
	}
}

// A process that is frozen with its cgroup is one that does not run, and a pid that
// nobody has is no reason to give up.
func TestF48Halted(t *testing.T) {
	proc := started(t, "lock", t.TempDir())
	if halted(proc.Pid) || halted(os.Getpid()) || halted(0) || halted(1<<30) {
		t.Error("a process that runs, or none, is stopped")
	}
	must(t, proc.Signal(unix.SIGSTOP))
	for !halted(proc.Pid) { // it is stopped when the kernel comes to it
		time.Sleep(time.Millisecond)
	}
	var p Patience
	if p.Over(proc.Pid) {
		t.Error("no patience")
	}
	p.since = p.since.Add(-stopPatience)
	if p.Over(os.Getpid()) || p.Over(proc.Pid) {
		t.Error("impatient with another one, or with one that ran in between")
	}
	p.since = p.since.Add(-stopPatience)
	if !p.Over(proc.Pid) {
		t.Error("too patient")
	}
}
