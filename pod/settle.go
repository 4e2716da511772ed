package pod

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// begin takes a pod's operation lock and first settles what a dead owner left.
func (c *settler) begin(ctx context.Context, id, kind string) (*record.Op, error) {
	return c.beginBy(ctx, id, func() (*record.Op, error) { return c.dir.Begin(ctx, id, kind) })
}

// beginBy is begin for those who take the lock in a way of their own.
func (c *settler) beginBy(ctx context.Context, id string, lock func() (*record.Op, error)) (*record.Op, error) {
	op, err := lock()
	if err != nil {
		return nil, fmt.Errorf("pod %q: %w", id, err)
	}
	prior, dead := op.Prior()
	if !dead {
		return op, nil
	}
	if err := c.undo(ctx, op, prior.Kind); err != nil {
		return nil, fmt.Errorf("settling %s of pod %q that process %d left: %w", prior.Kind, id, prior.Pid, err)
	}
	return c.beginBy(ctx, id, lock)
}

// undo settles an operation of a kind that failed here or that a dead owner
// left, and ends it.
func (c *settler) undo(ctx context.Context, op *record.Op, kind string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	if c.idle(op, kind) {
		return op.End()
	}
	switch kind {
	case opCreate, opRemove:
		prior, _ := op.Prior()
		return c.remove(ctx, op, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce(), Volumes: kind == opCreate || prior.Stage == stageVolumes})
	case opCheckpoint:
		return c.undoCheckpoint(op)
	case record.KindCheck:
		return op.End()
	default:
		s, err := c.Get(ctx, op.ID())
		if err != nil {
			return errors.Join(ctr.AbsentOK(err), op.Remove(ctx))
		}
		if s.Config.Implicit && kind == opStart {
			k, err := c.ctrs.Get(ctx, s.ID)
			never := errdefs.IsNotFound(err) || (err == nil && k.Op == nil && k.Config.Remove && k.Status.State == ctr.Created)
			if never { // its container never came to be, or was never started
				return c.remove(ctx, op, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()})
			}
		}
		return c.down(ctx, op)
	}
}

// idle says that an operation's owner died before it had changed anything: it may
// have been about to find that there is nothing to do. What is ready stays so.
func (c *settler) idle(op *record.Op, kind string) bool {
	prior, dead := op.Prior()
	if !dead || prior.Stage != "" {
		return false
	}
	e, err := c.dir.Get(op.ID())
	if err != nil || e.Lost || e.Damaged != nil {
		return false
	}
	return kind == opStart || kind == opStop || (kind == opRemove && e.Status.State != Removing)
}

// Reboot settles what a restart of the machine has ended, unless it is settled:
// each container and each sandbox gets a status that says so, and what is left of
// them goes: the addresses that networks keep outside the run root, and containers
// that were to remove themselves. Sweep does it, too. What cannot be given back
// yet stays on record, as after any stop. It may die anywhere and be repeated.
func (c *exits) Reboot(ctx context.Context) error {
	settled := true
	err := record.Settle(c.o.Paths, func() error {
		settled = false
		return c.markRebooted(ctx)
	})
	if err != nil || settled {
		return err
	}
	return c.sweepDead(ctx)
}

// markRebooted writes down, for whatever the last boot left, that it ended there
// and has to be cleared up: operations whose owner is dead. None of it waits.
func (c *exits) markRebooted(ctx context.Context) error {
	errs := []error{c.o.Networks.Collect(ctx, func(id string) bool {
		e, err := c.dir.Get(id)
		return err == nil && !e.Lost
	})}
	_, err := c.ctrs.Dead() // names that a loss of power took, or gave back, are put right
	errs = append(errs, err)
	_, err = c.dir.Dead()
	errs = append(errs, err, c.ctrs.Rebooted(ctx))
	pods, err := c.dir.List()
	errs = append(errs, err)
	for _, e := range pods {
		if e.Lost && e.Op == nil {
			errs = append(errs, c.markPod(ctx, e.ID))
		}
	}
	return errors.Join(errs...)
}

func (c *exits) markPod(ctx context.Context, id string) error {
	op, err := c.dir.TryBegin(id, opStop)
	var busy *record.BusyError
	if errors.As(err, &busy) {
		return nil // who starts, stops or removes it deals with this, too
	}
	if err != nil {
		return ctr.AbsentOK(err)
	}
	if _, dead := op.Prior(); dead { // its making was cut short
		op.Abandon()
		return nil
	}
	e, err := c.dir.Get(id)
	if err != nil || !e.Lost {
		return errors.Join(ctr.AbsentOK(err), op.End())
	}
	if err := op.Advance(ctx, stageDown); err != nil {
		return errors.Join(err, op.End())
	}
	_, err = c.update(ctx, c.sandbox(e), func(n *Status) {
		// It may be there where only the run root was lost.
		if place, err := c.o.CgroupDriver.Pod(e.Config.CgroupParent, id); err == nil && place.Own && !e.Config.CgroupsOff {
			n.Cgroup = place.Path
		}
	})
	op.Abandon()
	return ctr.AbsentOK(err)
}

// Sweep settles the operations that dead owners left, on containers and on
// pods, has timer processes begun that were killed, and does the housekeeping that
// no process stays for: logs that have outgrown their limit are rotated. Every
// changing command and the server's start begin with it. What cannot be settled
// stays on record and is in the error.
func (c *exits) Sweep(ctx context.Context) error {
	rebooted := c.Reboot(ctx)
	dead := c.sweepDead(ctx)
	c.revive(ctx)
	return errors.Join(rebooted, dead, c.dropOrphans(ctx), c.ctrs.Tidy(ctx))
}

// sweepDead settles the operations that dead owners left.
func (c *exits) sweepDead(ctx context.Context) error {
	var errs []error
	ctrs, err := c.ctrs.Dead()
	errs = append(errs, err)
	for _, id := range ctrs {
		errs = append(errs, c.ctrs.Settle(ctx, id))
		errs = append(errs, c.afterExit(ctx, id))
	}
	pods, err := c.dir.Dead()
	errs = append(errs, err)
	for _, id := range pods {
		errs = append(errs, c.settle(ctx, id))
	}
	for _, id := range c.ctrs.Ended() {
		errs = append(errs, c.follow(ctx, id))
	}
	return errors.Join(errs...)
}

// dropOrphans removes implicit sandboxes whose containers are gone: an implicit
// sandbox has its container's ID.
func (c *exits) dropOrphans(ctx context.Context) error {
	pods, err := c.dir.IDs()
	if err != nil {
		return err
	}
	errs := []error{}
	for _, id := range pods {
		if !c.ctrs.Exists(id) {
			errs = append(errs, c.dropOrphan(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// dropOrphan removes an implicit sandbox whose container is gone, unless
// somebody is at work on it.
func (c *exits) dropOrphan(ctx context.Context, id string) error {
	s, err := c.Get(ctx, id)
	if err != nil || !s.Config.Implicit {
		return ctr.AbsentOK(err)
	}
	op, err := c.dir.TryBegin(id, opRemove)
	var busy *record.BusyError
	if errors.As(err, &busy) {
		return nil
	}
	if err != nil {
		return ctr.AbsentOK(err)
	}
	if c.ctrs.Exists(id) {
		return op.End()
	}
	return c.remove(ctx, op, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()})
}

// follow does what follows a container's end, when who was to do it died before,
// unless somebody is at work on its sandbox.
func (c *exits) follow(ctx context.Context, id string) error {
	k, err := c.ctrs.Get(ctx, id)
	if err != nil || k.Op != nil {
		return ctr.AbsentOK(err)
	}
	if s, err := c.Get(ctx, k.Config.Sandbox); err == nil && s.Op != nil {
		return nil
	}
	return c.afterExit(ctx, id)
}

func (c *exits) settle(ctx context.Context, id string) error {
	op, err := c.dir.TryBegin(id, opStop)
	var busy *record.BusyError
	if errors.As(err, &busy) {
		return nil
	}
	if err != nil {
		return ctr.AbsentOK(err)
	}
	prior, dead := op.Prior()
	if !dead {
		return op.End()
	}
	return c.undo(ctx, op, prior.Kind)
}
