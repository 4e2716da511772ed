package ctr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/fsnotify/fsnotify"

	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
)

// strayGrace is more than a runtime may take to tell of the process that it
// leaves.
const strayGrace = 5 * time.Second

// nurse is for a process that starts containers again and checks their health.
type nurse struct{ *settler }

// careFile in a container's run folder says that it may have to be started again,
// or its health to be checked, whoever was to do so has died.
const careFile = "care"

// careFor leaves the mark of a container that is to be started, if that is so.
func careFor(c *records, ctr Container) error {
	if ctr.Config.Health == nil && ctr.RestartPolicy().Policy == RestartNo {
		return nil
	}
	return care(c, ctr.ID)
}

func care(c *records, id string) error {
	f, err := os.OpenFile(filepath.Join(c.dir.RunDir(id), careFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("marking container %q: %w", id, err)
	}
	return f.Close()
}

// Care lists the containers that are to be started again or whose health is
// checked, in no order. It reads little where there are none. One that cannot be
// read is left out.
func (c *nurse) Care(ctx context.Context) ([]Container, error) {
	ids, err := c.dir.IDs()
	if err != nil {
		return nil, err
	}
	var out []Container
	for _, id := range ids {
		if _, err := os.Lstat(filepath.Join(c.dir.RunDir(id), careFile)); err != nil {
			continue
		}
		if ctr, err := c.Get(ctx, id); err == nil && ctr.NeedsCare(c.o.Now()) {
			out = append(out, ctr)
		}
	}
	return out, nil
}

// NeedsCare tells whether a container is to be started again, or its health is
// checked.
func (c Container) NeedsCare(now time.Time) bool {
	_, due := c.RestartDue(now)
	return due || c.Checked()
}

// AwaitEnd returns when the process of a container is gone, as it was when ctr was
// read; settled waits for its monitor, too, which has run the exit command then.
func (c *nurse) AwaitEnd(ctx context.Context, ctr Container, settled bool) error {
	s := ctr.Status
	if err := AbsentOK(monitor.AwaitGone(ctx, s.Process())); err != nil || !settled {
		return err
	}
	return AbsentOK(monitor.AwaitGone(ctx, s.Monitor()))
}

// UpdateHealth changes what is known of a container's health, if it still runs, by
// the same start as when ctr was read: ErrFailedPrecondition if not. f gets and
// returns it by value, computes and does nothing else.
func (c *nurse) UpdateHealth(ctx context.Context, ctr Container, f func(HealthState) HealthState) (HealthState, error) {
	var out HealthState
	_, err := c.dir.Update(ctx, ctr.ID, func(s Status) (Status, error) {
		if s.Start != ctr.Status.Start || !s.Alive() || s.Health == nil || !s.Process().Alive() {
			return s, fmt.Errorf("container %q does not run any more: %w", ctr.Config.Name, errdefs.ErrFailedPrecondition)
		}
		out = f(*s.Health)
		s.Health = &out
		return s, nil
	})
	return out, err
}

// Fell kills a container's process; what its restart policy says follows, as if it
// had died by itself. ErrFailedPrecondition if it does not run.
func (c *nurse) Fell(ctx context.Context, id string) error {
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	if !ctr.Status.Alive() {
		return fmt.Errorf("container %q is %s, not running: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
	}
	stop := &stopper{c.settler}
	return stop.signal(ctx, ctr, sigKill)
}

// keeper watches all containers, for a process that stays.
type keeper struct {
	*settler
	on   Watcher
	gone func(id string) // told of containers that are there no more

	active  *atomic.Bool
	blind   bool // no inotify tells of the files that monitors leave
	mu      sync.Mutex
	awaited map[string]*ending // by ID
	waiting sync.WaitGroup
	places  chan struct{} // one for each end that is settled at a time
}

// ending is a start whose end is waited for.
type ending struct {
	start  int
	looked chan struct{} // has one when something may have changed since it was looked at
}

func (e *ending) look() {
	select {
	case e.looked <- struct{}{}:
	default:
	}
}

// settledAtOnce is how many ends a server settles at a time; each runs a runtime.
const settledAtOnce = 16

// Watcher is told of containers by a Controller that is kept.
type Watcher struct {
	// Changed is called when a container may have changed, or gone; with an
	// empty ID when any may have. It must not wait.
	Changed func(ctx context.Context, id string)
	// Ended is called when a container has ended whose exit command waits, or may not
	// come as its monitor is gone: it does what that does.
	Ended func(ctx context.Context, id string, start int) error
}

// OnChange sets who is told. It is to be called before Keep.
func (c *keeper) OnChange(w Watcher) { c.on = w }

// Keep has List answer from memory until ctx ends (see record.Dir.Keep: what it
// returns is shared then), with each container's life checked as ever, and
// watches the ends of those that run: by the files that monitors leave, and by
// the processes themselves, so that one whose monitor was killed is seen too. Those
// that are made meanwhile it settles, and dismisses their exit commands, which wait
// for that; they come where it is killed, or takes too long. The
// process becomes a child subreaper (prctl(2)) that reaps what it inherits: a
// container whose monitor was killed would else stay in its PID namespace, dead,
// where the process with PID 1 does not reap, and keep the namespace from ending.
func (c *keeper) Keep(ctx context.Context) error {
	if !c.active.CompareAndSwap(false, true) {
		return nil
	}
	if err := os.MkdirAll(c.exitDir(), 0o700); err != nil {
		return fmt.Errorf("making the folder of exits: %w", err)
	}
	exits, err := fsnotify.NewWatcher()
	if err == nil {
		err = exits.Add(c.exitDir())
	}
	if err != nil { // each container's processes tell the same, later
		c.blind = true
		c.o.Log.Warn("the exits of containers cannot be watched", "error", err)
	}
	c.awaited, c.places = map[string]*ending{}, make(chan struct{}, settledAtOnce)
	if err := oci.BecomeSubreaper(); err != nil {
		return err
	}
	if err := c.dir.Keep(ctx, func(id string) { c.look(ctx, id) }); err != nil {
		return err
	}
	c.look(ctx, "")
	c.waiting.Go(func() { monitor.ReapStrays(ctx, strayGrace, oci.Owned) })
	go func() { // ends with ctx, after all that wait for processes
		defer c.active.Store(false)
		c.follow(ctx, exits)
		c.waiting.Wait()
	}()
	return nil
}

// follow tells of the exits that monitors write down.
func (c *keeper) follow(ctx context.Context, exits *fsnotify.Watcher) {
	if exits == nil {
		<-ctx.Done()
		return
	}
	defer func() { _ = exits.Close() }()
	for {
		select {
		case e := <-exits.Events:
			if e.Has(fsnotify.Create) {
				c.look(ctx, filepath.Base(e.Name))
			}
		case <-exits.Errors: // events were lost
			c.look(ctx, "")
		case <-ctx.Done():
			return
		}
	}
}

// look tells of a container that may have changed or gone, and begins to wait for
// its end if it runs.
func (c *keeper) look(ctx context.Context, id string) {
	if id != "" {
		e, err := c.dir.Kept(id)
		switch {
		case err == nil:
			c.await(ctx, id, e.Status)
		case errdefs.IsNotFound(err):
			c.gone(id)
		}
	} else if all, err := c.dir.List(); err == nil || len(all) > 0 {
		for _, e := range all {
			c.await(ctx, e.ID, e.Status)
		}
	}
	c.wake(id)
	if c.on.Changed != nil {
		c.on.Changed(ctx, id)
	}
}

// wake has whoever waits for a container's end look at it again; all, of an empty ID.
func (c *keeper) wake(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.awaited[id]; e != nil {
		e.look()
	}
	if id == "" {
		for _, e := range c.awaited {
			e.look()
		}
	}
}

// await waits for the end of a container that runs, unless somebody does.
func (c *keeper) await(ctx context.Context, id string, s Status) {
	if !s.Alive() || ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.awaited[id]
	if e != nil && e.start == s.Start {
		return
	}
	e = &ending{start: s.Start, looked: make(chan struct{}, 1)}
	c.awaited[id] = e
	c.waiting.Go(func() {
		c.awaitEnd(ctx, id, s, e.looked)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.awaited[id] == e {
			delete(c.awaited, id)
		}
	})
}

// awaitEnd returns when a container's process and its monitor are gone.
func (c *keeper) awaitEnd(ctx context.Context, id string, s Status, looked <-chan struct{}) {
	defer c.held.Hold(s.Process())()
	defer c.held.Hold(s.Monitor())()
	if monitor.AwaitGone(ctx, s.Process()) != nil {
		return
	}
	c.on.Changed(ctx, id)
	if c.settleAhead(ctx, id, s, looked) {
		dismiss(c.records, id, s.Monitor())
	}
	if monitor.AwaitGone(ctx, s.Monitor()) != nil {
		return
	}
	// An exit command has settled it by now, if there was one.
	if e, err := c.dir.Kept(id); err == nil && e.Status.Alive() && e.Status.Start == s.Start {
		c.settleEnd(ctx, id, s)
	}
	c.on.Changed(ctx, id)
}

// settleAhead settles one of the kubelet's containers whose process has ended, as soon
// as its monitor has written that down, while the exit command waits. It is false
// when that is left to the exit command.
func (c *keeper) settleAhead(ctx context.Context, id string, s Status, looked <-chan struct{}) bool {
	e, err := c.dir.Kept(id)
	if err != nil || !keptBy(e.Config) {
		return false
	}
	if c.blind {
		_, _ = monitor.Wait(ctx, monitor.WaitConfig{
			PersistDir: c.persist(id, s.Start), Monitor: s.Monitor(), Process: s.Process(),
		})
	}
	wait, done := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = monitor.AwaitGone(wait, s.Monitor())
	}()
	defer func() { done(); <-gone }()
	for {
		if _, found, _ := monitor.ReadExit(c.persist(id, s.Start)); found && !c.settleEnd(ctx, id, s) {
			return false
		}
		if c.isSettled(id, s.Start) {
			return true
		}
		// The monitor empties the streams first; or somebody is at work on it.
		select {
		case <-looked:
		case <-gone:
			return false
		}
	}
}

// keptBy tells whether a container is one whose ends a server settles: who starts
// another may be about to do that, or to start it again.
func keptBy(c Config) bool { return c.Owner == record.OwnerCRI && !c.Infra }

// settleEnd does what is due when a container has ended, unless somebody is at work on
// it, who then does it. It is false when that failed.
func (c *keeper) settleEnd(ctx context.Context, id string, s Status) bool {
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	case <-ctx.Done():
		return false
	}
	err := c.on.Ended(ctx, id, s.Start)
	if err != nil && ctx.Err() == nil {
		c.o.Log.Warn("settling a container that has ended", "container", id, "error", err)
	}
	return err == nil
}

// isSettled tells whether there is nothing left to settle of a container's start.
func (c *keeper) isSettled(id string, start int) bool {
	e, err := c.dir.Kept(id)
	if err != nil {
		return errdefs.IsNotFound(err)
	}
	s := e.Status
	return !e.Lost && e.Damaged == nil && (s.Start != start || (!s.Alive() && s.Mounted == ""))
}

// Now is Get from memory, for a Controller that is kept; what it returns is
// shared.
func (c *keeper) Now(id string) (Container, error) {
	e, err := c.dir.Kept(id)
	if err != nil {
		return Container{}, fmt.Errorf("container %q: %w", id, err)
	}
	return c.derive(e), nil
}

// In lists the containers of a sandbox, oldest first, infra included, as List
// does. Records that cannot be read are left out.
func (c *keeper) In(sandbox string) []Container {
	entries, err := c.dir.List()
	if err != nil {
		c.o.Log.Warn("some container records cannot be read", "error", err)
	}
	var out []Container
	for _, e := range entries {
		if e.Config.Sandbox == sandbox {
			out = append(out, c.derive(e))
		}
	}
	return out
}

// Rebooted writes down, for each container that a reboot took the status of, how it
// ended, as far as that is known, and an operation for whoever settles what dead
// owners left (see Dead): the removal of one that removes itself, else what is due
// at an exit. Containers that somebody is at work on are that one's.
func (c *keeper) Rebooted(ctx context.Context) error {
	all, err := c.dir.List()
	errs := []error{err}
	for _, e := range all {
		if e.Lost && e.Op == nil {
			errs = append(errs, AbsentOK(c.rebooted(ctx, e.ID)))
		}
	}
	return errors.Join(errs...)
}

func (c *keeper) rebooted(ctx context.Context, id string) error {
	e, err := c.dir.Get(id)
	if err != nil {
		return err
	}
	kind := opExit
	if e.Config.Remove {
		kind = opRemove
	}
	op, err := c.dir.TryBegin(id, kind)
	var busy *record.BusyError
	if errors.As(err, &busy) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, dead := op.Prior(); dead { // its making was cut short
		op.Abandon()
		return nil
	}
	if e, err = c.dir.Get(id); err != nil || !e.Lost {
		return errors.Join(err, op.End())
	}
	if err := op.Advance(ctx, stageRebooted); err != nil {
		return errors.Join(err, op.End())
	}
	_, err = c.update(ctx, c.derive(e), func(*Status) {})
	op.Abandon()
	return err
}

// stageRebooted says that an operation is one that a restart of the machine asks
// for.
const stageRebooted = "rebooted"
