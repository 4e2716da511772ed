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

	"github.com/fsnotify/fsnotify"

	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
)

// strayGrace is more than a runtime may take to tell of the process that it
// leaves.
const strayGrace = 5 * time.Second

// keeper watches all containers, for a process that stays.
type keeper struct {
	*settler
	on Watcher

	active  atomic.Bool
	mu      sync.Mutex
	started map[string]int // the start that is waited for, by ID
	waiting sync.WaitGroup
}

// Watcher is told of containers by a Controller that is kept.
type Watcher struct {
	// Changed is called when a container may have changed, or gone; with an
	// empty ID when any may have. It must not wait.
	Changed func(ctx context.Context, id string)
	// Lost is called when a container has ended and its monitor with it, so that
	// no exit command may come: it does what that does.
	Lost func(ctx context.Context, id string, start int) error
}

// OnChange sets who is told. It is to be called before Keep.
func (c *keeper) OnChange(w Watcher) { c.on = w }

// Keep has List answer from memory until ctx ends (see record.Dir.Keep: what it
// returns is shared then), with each container's life checked as ever, and
// watches the ends of those that run: by the files that monitors leave, and by
// the processes themselves, so that one whose monitor was killed is seen too. The
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
		c.o.Log.Warn("the exits of containers cannot be watched", "error", err)
	}
	c.started = map[string]int{}
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

// look tells of a container that may have changed, and begins to wait for its end
// if it runs.
func (c *keeper) look(ctx context.Context, id string) {
	if id != "" {
		if e, err := c.dir.Kept(id); err == nil {
			c.await(ctx, id, e.Status)
		}
	} else if all, err := c.dir.List(); err == nil || len(all) > 0 {
		for _, e := range all {
			c.await(ctx, e.ID, e.Status)
		}
	}
	if c.on.Changed != nil {
		c.on.Changed(ctx, id)
	}
}

// await waits for the end of a container that runs, unless somebody does.
func (c *keeper) await(ctx context.Context, id string, s Status) {
	if !s.Alive() || ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started[id] == s.Start {
		return
	}
	c.started[id] = s.Start
	c.waiting.Go(func() {
		c.awaitEnd(ctx, id, s)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.started[id] == s.Start {
			delete(c.started, id)
		}
	})
}

// awaitEnd returns when a container's process and its monitor are gone.
func (c *keeper) awaitEnd(ctx context.Context, id string, s Status) {
	if monitor.WaitPid(ctx, s.Pid, s.PidStart) != nil {
		return
	}
	c.on.Changed(ctx, id)
	if monitor.WaitPid(ctx, s.MonitorPid, s.MonitorStart) != nil {
		return
	}
	// An exit command has settled it by now, if there was one.
	e, err := c.dir.Kept(id)
	if err == nil && e.Status.Alive() && e.Status.Start == s.Start && c.on.Lost != nil {
		if err := c.on.Lost(ctx, id, s.Start); err != nil && ctx.Err() == nil {
			c.o.Log.Warn("settling a container whose monitor is gone", "container", id, "error", err)
		}
	}
	c.on.Changed(ctx, id)
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
