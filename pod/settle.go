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
	op, err := c.dir.Begin(ctx, id, kind)
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
	return c.begin(ctx, id, kind)
}

// undo settles an operation of a kind that failed here or that a dead owner
// left, and ends it.
func (c *settler) undo(ctx context.Context, op *record.Op, kind string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	switch kind {
	case opCreate, opRemove:
		return c.remove(ctx, op, ctr.RemoveOptions{Force: true})
	case opCheckpoint:
		return c.undoCheckpoint(op)
	default:
		s, err := c.Get(ctx, op.ID())
		if err != nil {
			return errors.Join(ctr.AbsentOK(err), op.Remove(ctx))
		}
		if s.Config.Implicit && kind == opStart {
			k, err := c.ctrs.Get(ctx, s.ID)
			never := errdefs.IsNotFound(err) || (err == nil && k.Op == nil && k.Config.Remove && k.Status.State == ctr.Created)
			if never { // its container never came to be, or was never started
				return c.remove(ctx, op, ctr.RemoveOptions{Force: true})
			}
		}
		return c.down(ctx, op)
	}
}

// AfterReboot settles what a restart of the machine has ended: containers that
// were to remove themselves are removed, with their sandboxes, and what is left
// of networks outside the run root is given back.
func (c *exits) AfterReboot(ctx context.Context) error {
	ctrs, err := c.ctrs.List(ctx)
	errs := []error{err}
	for _, k := range ctrs {
		if k.Config.Remove && !k.Status.Alive() && k.Op == nil {
			errs = append(errs, ctr.AbsentOK(c.RemoveContainer(ctx, k.ID, ctr.RemoveOptions{})))
		}
	}
	errs = append(errs, c.o.Networks.Collect(ctx, func(id string) bool {
		e, err := c.dir.Get(id)
		return err == nil && !e.Lost
	}))
	return errors.Join(errs...)
}

// Sweep settles the operations that dead owners left, on containers and on
// pods, and does the housekeeping that no process stays for: logs that have
// outgrown their limit are rotated. Every changing command and the server's start
// begin with it. What cannot be settled stays on record and is in the error.
func (c *exits) Sweep(ctx context.Context) error {
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
	errs = append(errs, c.dropOrphans(ctx), c.ctrs.RotateLogs(ctx))
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
	return c.remove(ctx, op, ctr.RemoveOptions{Force: true})
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
