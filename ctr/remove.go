package ctr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/logs"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// RemoveOptions say how to remove.
type RemoveOptions struct {
	// Force removes a running container, too: it is stopped.
	Force bool
	// Volumes deletes the container's anonymous volumes, too; those of one that
	// removes itself always go.
	Volumes bool
	// Timeout is the time that a running container has to stop before it is killed; nil
	// is its own, a negative one is for ever.
	Timeout *time.Duration
}

// AtOnce is a Timeout that there is no time in: what runs is killed.
func AtOnce() *time.Duration { return new(time.Duration) }

// Remove deletes a container: its record, its name, its root filesystem and its
// log. ErrFailedPrecondition if it runs and Force is not
// set, ErrNotFound if there is none. Repeating a removal that was cut short
// finishes it.
func (c *stopper) Remove(ctx context.Context, id string, o RemoveOptions) error {
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	if o.Force && ctr.Status.Alive() {
		if err := c.Stop(ctx, id, StopOptions{Timeout: o.Timeout}); err != nil {
			return AbsentOK(err)
		}
	}
	op, err := c.begin(ctx, id, opRemove)
	if err != nil {
		return err
	}
	if ctr, err = c.Get(ctx, id); err != nil {
		return errors.Join(err, op.End())
	}
	if ctr.Status.Alive() && !o.Force {
		return errors.Join(fmt.Errorf("container %q is %s: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition), op.End())
	}
	if o.Volumes {
		if err := op.Advance(ctx, stageVolumes); err != nil {
			return errors.Join(err, op.End())
		}
	}
	return c.remove(ctx, op, ctr)
}

// stageVolumes says that a removal takes the anonymous volumes with it.
const stageVolumes = "volumes"

// takesVolumes tells whether a removal, of this process's or a dead one's, takes
// the anonymous volumes with it: those of a creation that is undone do, too.
func takesVolumes(op *record.Op, ctr Container) bool {
	kind, stage := removes(op)
	return ctr.Config.Remove || kind == opCreate || stage == stageVolumes
}

// removes is the operation that a removal belongs to, this process's or a dead
// one's.
func removes(op *record.Op) (kind, stage string) {
	if prior, dead := op.Prior(); dead {
		return prior.Kind, prior.Stage
	}
	return op.Kind(), op.Stage()
}

// remove is the way out, for a removal and for undoing a creation: idempotent
// steps from the record, all of them run. The record goes last, so that what
// failed can be repeated.
func (c *settler) remove(ctx context.Context, op *record.Op, ctr Container) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	_, err := c.update(ctx, ctr, func(s *Status) { s.State = Removing })
	if err != nil {
		op.Abandon()
		return AbsentOK(err)
	}
	op.Partial()
	going := ctr
	going.Status.State = Removing
	err = Undo(
		failpoint.After(ctx, failpoint.RemoveKilled, func() error { return c.killUnsettled(ctx, ctr) }),
		func() error { return c.release(ctx, going, c.deleteRootfs) },
		func() error {
			if !takesVolumes(op, ctr) {
				return nil
			}
			if err := failpoint.Reach(ctx, failpoint.RemoveVolumes); err != nil {
				return err
			}
			return c.removeAnonymous(ctx, ctr)
		},
		func() error {
			if kind, _ := removes(op); kind != opCreate {
				return nil
			}
			return logs.DropEmpty(ctr.Config.Log.Dir, ctr.Config.Log.Path)
		},
	)
	if err != nil {
		op.Abandon()
		return fmt.Errorf("removing container %q: %w", ctr.Config.Name, err)
	}
	return op.Remove(ctx)
}

// removePartial removes what is left of a container whose record is not whole: a
// creation or a removal was cut short, by a loss of power at worst, which leaves no
// more of it than what is on the disk. Volumes stay: it is not known what they hold.
func removePartial(ctx context.Context, c *settler, op *record.Op) error {
	cfg, err := c.dir.ConfigOf(op)
	if errdefs.IsNotFound(err) || errors.Is(err, record.ErrCorrupt) {
		err = nil // then it has no image mounts that anybody knows of
	}
	if err == nil {
		err = c.deleteRootfs(ctx, Container{ID: op.ID(), Config: cfg})
	}
	if err != nil {
		op.Abandon()
		return fmt.Errorf("removing what is left of container %q: %w", op.ID(), err)
	}
	return op.Remove(ctx)
}

// killUnsettled kills what is left of a container that was not settled. A
// monitor of one that was may be running the exit command that got us here.
func (c *settler) killUnsettled(ctx context.Context, ctr Container) error {
	if ctr.Status.State == Stopped {
		return nil
	}
	return Undo(
		func() error { return killMakers(ctx, c, ctr) },
		func() error { return c.killAll(ctx, ctr) },
	)
}

// deleteRootfs removes the container's layer, mounted or not.
func (c *settler) deleteRootfs(ctx context.Context, ctr Container) error {
	if ctr.Config.Rootfs != "" {
		return nil
	}
	defer record.Span(ctx, "rootfs delete", ctr.ID)()
	images, err := c.o.Images(ctx)
	if err != nil {
		return err
	}
	return Undo(
		func() error {
			return eachImageMount(ctr, func(id string) error { return images.DeleteRootfs(ctx, id) })
		},
		func() error { return AbsentOK(images.DeleteRootfs(ctx, ctr.ID)) },
	)
}
