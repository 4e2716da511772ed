package ctr

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/davit-containers/davit/ctr/record"
)

// unheeding is a container on record as running whose process ignores its stop signal.
func unheeding(t *testing.T, c *Controller) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap "" TERM; echo; exec sleep 60`)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p, err := record.ProcessOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return recorded(t, c, Status{State: Running, Start: 1, Pid: p.Pid, PidStart: p.Start})
}

// queued calls f with a context, and returns when that waits to begin an operation.
func queued(ctx context.Context, f func(context.Context) error) (done chan error) {
	waits := make(chan struct{}, 1)
	ctx = record.WithTrace(ctx, func(s record.Step) {
		if s.Stage == record.StageLock && !s.Over {
			select {
			case waits <- struct{}{}:
			default:
			}
		}
	})
	done = make(chan error, 1)
	go func() { done <- f(ctx) }()
	<-waits
	return done
}

// A stop that waits for another operation, as another stop does, hastens that one when
// that comes first.
func TestStopHastensOneThatWasFaster(t *testing.T) {
	c := testController(t)
	id := unheeding(t, c)
	op, err := c.dir.Begin(t.Context(), id, opStart)
	if err != nil {
		t.Fatal(err)
	}
	timeout := time.Duration(0)
	done := queued(t.Context(), func(ctx context.Context) error { return c.Stop(ctx, id, StopOptions{Timeout: &timeout}) })
	op.Turn(opStop) // as if one that waits, too, had the lock now
	if err := op.Advance(t.Context(), "grace"); err != nil {
		t.Fatal(err)
	}
	e, err := c.dir.Get(id)
	if err != nil || e.Op == nil {
		t.Fatalf("operation %+v, error %v", e.Op, err)
	}
	path, told := filepath.Join(c.dir.RunDir(id), hasteFile), false
	for begun := time.Now(); !told && time.Since(begun) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
		_, told = readHaste(path, e.Op.Since)
	}
	if !told {
		t.Error("it waits for the whole grace time of the other")
	}
	if err := op.End(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s, err := c.Get(t.Context(), id); err != nil || s.Status.State != Stopped {
		t.Errorf("after the stop it is %s, error %v", s.Status.State, err)
	}
}

// The soonest of several deadlines is what the first stop sees, whoever looked last.
func TestSoonestDeadlineStays(t *testing.T) {
	c := testController(t)
	id := recorded(t, c, Status{State: Running, Start: 1})
	op, err := c.dir.Begin(t.Context(), id, opStop)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Abandon()
	e, err := c.dir.Get(id)
	if err != nil || e.Op == nil {
		t.Fatalf("operation %+v, error %v", e.Op, err)
	}
	now := time.Now().Round(0)
	for _, in := range []time.Duration{time.Minute, time.Second, time.Hour} {
		if err := c.hasten(id, now.Add(in)); err != nil {
			t.Fatal(err)
		}
	}
	at, ok := readHaste(filepath.Join(c.dir.RunDir(id), hasteFile), e.Op.Since)
	if want := now.Add(time.Second); !ok || !at.Equal(want) {
		t.Errorf("the deadline is %s, want %s", at, want)
	}
}

// A stop that gives up says who is at work.
func TestStopGivesUp(t *testing.T) {
	c := testController(t)
	id := recorded(t, c, Status{State: Running, Start: 1})
	op, err := c.dir.Begin(t.Context(), id, opPause)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Abandon()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = c.Stop(ctx, id, StopOptions{})
	var busy *record.BusyError
	if !errors.As(err, &busy) || busy.Holder.Kind != opPause || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
