package ctr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/fsnotify/fsnotify"

	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/spec"
)

const (
	sigKill        = syscall.SIGKILL
	defaultTimeout = 10 * time.Second
)

// StopOptions say how to stop.
type StopOptions struct {
	// Timeout is the time before SIGKILL; nil is the container's own, a negative
	// one is for ever.
	Timeout *time.Duration
	// Signal replaces the container's stop signal.
	Signal string
	// Again says that the caller starts it again: should the caller die, somebody
	// else does.
	Again bool
	// Warn is told what the user may want to know (PID 1 ignores the signal, it
	// had to be killed); may be nil.
	Warn func(string)
}

// Stop ends the container's process with its stop signal, and with SIGKILL when
// the time is up, and settles it. One that does not run is no error. A stop with
// a shorter timeout overtakes one that is under way. A restart policy does not
// start it again, from the stop's beginning on, whatever becomes of the stop.
func (c *stopper) Stop(ctx context.Context, id string, o StopOptions) error {
	deadline := c.deadline(id, o)
	op, err := beginBy(ctx, c.settler, id, func() (*record.Op, error) { return c.beginStop(ctx, id, deadline) })
	if err != nil {
		return err
	}
	return changeBy(ctx, c.settler, op, func(op *record.Op, ctr Container) error {
		if err := mark(ctx, c.records, ctr, o.Again); err != nil {
			return err
		}
		if ctr.Status.State == Created && ctr.Status.Prepared {
			return c.undoStart(ctx, ctr)
		}
		if ctr.Status.Alive() {
			if err := c.terminate(ctx, op, ctr, o); err != nil {
				return err
			}
			if err := failpoint.Reach(ctx, failpoint.StopEnded); err != nil {
				return err
			}
		}
		ctr, err := c.Get(ctx, id)
		if err != nil {
			return err
		}
		return c.finish(ctx, ctr)
	})
}

// deadline is when a stop that begins now kills; zero is never.
func (c *stopper) deadline(id string, o StopOptions) time.Time {
	var cfg Config
	if e, err := c.dir.Get(id); err == nil {
		cfg = e.Config
	}
	grace := cfg.Grace(o.Timeout)
	if grace < 0 {
		return time.Time{}
	}
	return c.o.Now().Add(grace)
}

// Grace is the time before SIGKILL of a stop that asks for one, or, where that is nil,
// the container's own. A negative one is for ever.
func (c Config) Grace(asked *time.Duration) time.Duration {
	switch {
	case asked != nil:
		return *asked
	case c.Stop.Timeout != nil:
		return *c.Stop.Timeout
	}
	return defaultTimeout
}

// terminate signals, waits and kills.
func (c *stopper) terminate(ctx context.Context, op *record.Op, ctr Container, o StopOptions) error {
	name := ctr.Config.Name
	warn := o.Warn
	if warn == nil {
		warn = func(string) {}
	}
	sig, err := ctr.Config.Stop.Ends()
	if o.Signal != "" {
		if sig, err = spec.ParseSignal(o.Signal); err != nil {
			return err
		}
	}
	if err != nil {
		warn(fmt.Sprintf("container %q is stopped by %s: %v", name, spec.SignalName(sig), err))
	}
	deadline := c.deadline(ctr.ID, o)
	if err := op.SetDeadline(deadline); err != nil {
		return err
	}
	s := ctr.Status
	if deadline.IsZero() || deadline.After(c.o.Now()) {
		if ignores(s.Pid, sig) {
			warn(fmt.Sprintf("PID 1 of container %q ignores %s; it ends by SIGKILL only (--init or --stop-signal would help)", name, spec.SignalName(sig)))
		}
		if err := AbsentOK(monitor.Signal(s.Process(), sig)); err != nil {
			return fmt.Errorf("signalling container %q: %w", name, err)
		}
		if err := failpoint.Reach(ctx, failpoint.StopSignalled); err != nil {
			return err
		}
		if err := c.thaw(ctx, ctr); err != nil {
			return err
		}
		since := c.o.Now()
		if ctr.Op != nil {
			since = ctr.Op.Since // by which another stop names this one
		}
		gone, err := c.awaitExit(ctx, ctr, deadline, since)
		if err != nil || gone {
			return errors.Join(err, c.drained(ctx, ctr))
		}
		warn(fmt.Sprintf("container %q did not end on %s in time and was killed", name, spec.SignalName(sig)))
	}
	if err := c.kill(ctx, ctr); err != nil {
		return err
	}
	if err := failpoint.Reach(ctx, failpoint.StopKilled); err != nil {
		return err
	}
	return c.drained(ctx, ctr)
}

// kill ends a container by SIGKILL, thawing it where it is frozen, and waits for
// its process to be gone.
func (c *stopper) kill(ctx context.Context, ctr Container) error {
	s := ctr.Status
	if err := AbsentOK(monitor.Signal(s.Process(), sigKill)); err != nil {
		return fmt.Errorf("killing container %q: %w", ctr.Config.Name, err)
	}
	return Undo(
		func() error { return c.thaw(ctx, ctr) },
		func() error { return c.killAll(ctx, ctr) },
	)
}

// awaitExit waits until the process is gone or the deadline has passed; the
// deadline may be moved forward by another stop meanwhile.
func (c *stopper) awaitExit(ctx context.Context, ctr Container, deadline, since time.Time) (gone bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exited := make(chan error, 1)
	go func() { exited <- monitor.AwaitGone(ctx, ctr.Status.Process()) }()
	hastened := c.watchHaste(ctx, ctr.ID, since)
	for {
		var timer <-chan time.Time
		if !deadline.IsZero() {
			timer = time.After(max(0, deadline.Sub(c.o.Now())))
		}
		select {
		case err := <-exited:
			return err == nil, err
		case <-timer:
			return false, nil
		case at := <-hastened:
			if !at.IsZero() && (deadline.IsZero() || at.Before(deadline)) {
				deadline = at
			}
		}
	}
}

// drained waits until the monitor has written the exit down: it empties the
// streams first.
func (c *stopper) drained(ctx context.Context, ctr Container) error {
	s := ctr.Status
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	_, err := monitor.Wait(patient, monitor.WaitConfig{
		PersistDir: c.persist(ctr.ID, s.Start), Monitor: s.Monitor(), Process: s.Process(),
	})
	if errors.Is(err, context.DeadlineExceeded) {
		// A process that left the container holds a stream open, or the monitor
		// is stopped. Without it the exit is settled as unknown.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		return c.killMonitor(ctx, ctr)
	}
	return err
}

// drainTimeout bounds the wait for a monitor after its container is gone.
const drainTimeout = 5 * time.Second

// Kill sends a signal (name or number) to the container's first process. One that
// is to end it, KILL, TERM, INT, QUIT or its stop signal, has no restart policy
// start it again. ErrFailedPrecondition if it does not run.
func (c *stopper) Kill(ctx context.Context, id, signal string) error {
	sig, err := spec.ParseSignal(signal)
	if err != nil {
		return err
	}
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	if !ctr.Status.Alive() {
		return fmt.Errorf("container %q is %s, not running: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
	}
	if stop, _ := ctr.Config.Stop.Ends(); sig == stop || slices.Contains(endings(), sig) {
		if err := mark(ctx, c.records, ctr, false); err != nil {
			return err
		}
	}
	return c.signal(ctx, ctr, sig)
}

// endings are the signals by which users end a process.
func endings() []syscall.Signal {
	return []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}
}

func (c *stopper) signal(ctx context.Context, ctr Container, sig syscall.Signal) error {
	if sig == sigKill && (ctr.Status.State == Paused || inIce(c.records, ctr)) {
		return c.kill(ctx, ctr)
	}
	err := monitor.Signal(ctr.Status.Process(), sig)
	if errdefs.IsNotFound(err) { // it is the process that is gone, not the container
		return fmt.Errorf("container %q has ended: %w", ctr.Config.Name, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return fmt.Errorf("signalling container %q: %w", ctr.Config.Name, err)
	}
	return nil
}

// stoppedFile keeps in the durable root that a user has stopped a container that
// has a restart policy.
const stoppedFile = "stopped.json"

type stopped struct {
	ByUser bool `json:"byUser"`
}

// mark writes down that a container is to end, before it does: for good, or to be
// started again. It is for those of the command line, as is what reads it.
func mark(ctx context.Context, c *records, ctr Container, again bool) error {
	s := ctr.Status
	if ctr.Config.Owner == record.OwnerCRI || ctr.Config.Infra || (again && s.Again.Asked) || (!again && s.StoppedByUser) {
		return nil
	}
	err := error(nil)
	if again {
		err = care(c, ctr.ID)
	} else {
		err = keepMark(c, ctr, true)
	}
	if err != nil {
		return err
	}
	_, err = c.update(ctx, ctr, func(s *Status) {
		s.Again.Asked = again
		s.StoppedByUser = s.StoppedByUser || !again
	})
	return err
}

// keepMark keeps in the durable root whether a user has stopped a container, where
// that matters after a restart of the machine.
func keepMark(c *records, ctr Container, byUser bool) error {
	policy := ctr.RestartPolicy().Policy
	if policy == RestartNo || byUser == stoppedByUser(c, ctr.ID) {
		return nil
	}
	return unlessFull(c, ctr, c.dir.PutFile(ctr.ID, stoppedFile, stopped{byUser}, policy == RestartUnlessStopped))
}

func stoppedByUser(c *records, id string) bool {
	var s stopped
	return c.dir.GetFile(id, stoppedFile, &s) == nil && s.ByUser
}

// ignores tells whether the first process of a PID namespace would not see a
// signal: it has no default action there, so one that is not caught is dropped
// (pid_namespaces(7)).
func ignores(pid int, sig syscall.Signal) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	var caught uint64
	innermost := ""
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			if _, err := fmt.Sscanf(strings.TrimSpace(v), "%x", &caught); err != nil {
				return false
			}
		}
		if v, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if f := strings.Fields(v); len(f) > 1 {
				innermost = f[len(f)-1]
			}
		}
	}
	return innermost == "1" && caught&(1<<(uint(sig)-1)) == 0
}

// Pause freezes all processes of a running container. ErrFailedPrecondition if
// it is not running.
func (c *stopper) Pause(ctx context.Context, id string) error {
	return c.freeze(ctx, id, Running, Paused)
}

// Unpause lets a paused container go on. ErrFailedPrecondition if it is not
// paused.
func (c *stopper) Unpause(ctx context.Context, id string) error {
	return c.freeze(ctx, id, Paused, Running)
}

func (c *stopper) freeze(ctx context.Context, id string, from, to State) error {
	return c.change(ctx, id, opPause, func(op *record.Op, ctr Container) error {
		if ctr.Status.State != from {
			return fmt.Errorf("container %q is %s, not %s: %w", ctr.Config.Name, ctr.Status.State, from, errdefs.ErrFailedPrecondition)
		}
		rt, err := c.runtime(ctr.Config)
		if err != nil {
			return err
		}
		if err := op.Advance(ctx, string(to)); err != nil {
			return err
		}
		if to == Paused {
			err = rt.Pause(ctx, id)
		} else {
			err = rt.Resume(ctx, id)
		}
		if err != nil {
			return err
		}
		_, err = c.update(ctx, ctr, func(s *Status) { s.State = to })
		return err
	})
}

// thaw lets a frozen container's processes see what they were sent, whoever has
// frozen them: the cgroup is thawed where the runtime did not do it.
func (c *records) thaw(ctx context.Context, ctr Container) error {
	err := resume(ctx, c, ctr)
	if ctr.Status.Cgroup != "" && (err != nil || inIce(c, ctr)) {
		host, herr := c.o.Cgroups()
		if herr == nil {
			herr = AbsentOK(host.Thaw(ctx, ctr.Status.Cgroup))
		}
		if err != nil && herr == nil {
			c.o.Log.Warn("a container was thawed by its cgroup", "container", ctr.ID, "error", err)
			return nil
		}
		err = errors.Join(err, herr)
	}
	if err != nil {
		return fmt.Errorf("thawing container %q: %w", ctr.Config.Name, err)
	}
	return nil
}

// resume has the runtime thaw a container that it was told to freeze.
func resume(ctx context.Context, c *records, ctr Container) error {
	if ctr.Status.State != Paused {
		return nil
	}
	rt, err := c.runtime(ctr.Config)
	if err == nil {
		err = rt.Resume(ctx, ctr.ID)
	}
	if errdefs.IsFailedPrecondition(err) {
		return nil
	}
	return AbsentOK(err)
}

// inIce tells whether a container's cgroup is frozen, as far as that can be told.
func inIce(c *records, ctr Container) bool {
	if ctr.Status.Cgroup == "" {
		return false
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return false
	}
	frozen, err := host.Frozen(ctr.Status.Cgroup)
	return err == nil && frozen
}

// A stop that finds another one under way does not wait for that one's grace
// time: it leaves its own deadline in the container's run folder, where the
// first stop sees it.
const hasteFile = "deadline"

// haste is what that file holds. It names the stop that it is for by what that has
// on record, not by the file's time: the clock may have been set in between.
type haste struct {
	Of       time.Time `json:"of"` // when that stop began
	Deadline time.Time `json:"deadline"`
}

// beginStop takes a container's operation lock for a stop that kills at a deadline, and
// hastens the stops that have it before: between two turns, too, as one that waits as
// well may be faster.
func (c *stopper) beginStop(ctx context.Context, id string, deadline time.Time) (*record.Op, error) {
	if err := c.hasten(id, deadline); err != nil {
		return nil, err
	}
	return c.dir.BeginInTurns(ctx, id, opStop, func(record.Holder) error { return c.hasten(id, deadline) })
}

// hasten leaves a deadline for a stop that is under way, if there is one, unless it has
// a sooner one already.
func (c *stopper) hasten(id string, deadline time.Time) error {
	e, err := c.dir.Get(id)
	if err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	if e.Op == nil || e.Op.Kind != opStop || deadline.IsZero() {
		return nil
	}
	path := filepath.Join(c.dir.RunDir(id), hasteFile)
	if at, ok := readHaste(path, e.Op.Since); ok && !at.After(deadline) {
		return nil
	}
	data, err := json.Marshal(haste{Of: e.Op.Since, Deadline: deadline})
	if err != nil {
		return err
	}
	if err := record.WriteAtomic(path, data, record.WriteOptions{Mode: 0o600}); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("hastening the stop of container %q: %w", id, err)
	}
	return nil
}

// hastePoll is how often a stop looks for a shorter one where inotify has no
// watches left.
const hastePoll = 500 * time.Millisecond

// watchHaste delivers the deadlines that later stops leave for the one that began at
// since, until ctx ends.
func (c *stopper) watchHaste(ctx context.Context, id string, since time.Time) <-chan time.Time {
	path := filepath.Join(c.dir.RunDir(id), hasteFile)
	var changes <-chan fsnotify.Event
	var poll <-chan time.Time
	done := func() {}
	if w, err := fsnotify.NewWatcher(); err == nil {
		done = func() { _ = w.Close() }
		if w.Add(filepath.Dir(path)) == nil {
			changes = w.Events
		}
	}
	if changes == nil {
		done()
		ticker := time.NewTicker(hastePoll)
		poll, done = ticker.C, ticker.Stop
	}
	out := make(chan time.Time)
	go func() {
		defer done()
		for {
			if at, ok := readHaste(path, since); ok {
				select {
				case <-ctx.Done():
					return
				case out <- at:
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-changes:
			case <-poll:
			}
		}
	}()
	return out
}

func readHaste(path string, since time.Time) (at time.Time, ok bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return at, false
	}
	var h haste
	err = json.Unmarshal(data, &h)
	return h.Deadline, err == nil && h.Of.Equal(since)
}
