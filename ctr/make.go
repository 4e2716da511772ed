package ctr

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// Make records a container and has the runtime make its process, ready to start,
// as one operation: CRI's CreateContainer. Whatever can fail for what the
// container is fails here. The sandbox is asked for once the container is on
// record, so that whoever takes it down from then on finds the container.
// Errors are those of Create; on an error nothing is left.
func (c *maker) Make(ctx context.Context, cfg Config, sandbox func(context.Context) (Sandbox, error)) (Container, error) {
	k, op, err := c.creator.begun(ctx, cfg)
	if err != nil {
		return Container{}, err
	}
	if _, err := c.starter.prepare(ctx, op, k, Launch{Sandbox: sandbox, Attended: c.kept.Load()}); err != nil {
		return Container{}, errors.Join(err, c.undo(ctx, op, opCreate))
	}
	if err := op.End(); err != nil {
		return Container{}, err
	}
	return c.Get(ctx, k.ID)
}

// Find returns the full ID of the container that has a name among those of an
// owner, once nobody is making or removing it. ErrNotFound if there is none then.
func (c *maker) Find(ctx context.Context, owner record.Owner, name string) (string, error) {
	id, err := c.dir.Lookup(owner, name)
	if err != nil {
		return "", fmt.Errorf("container %q: %w", name, err)
	}
	return id, c.Settled(ctx, id)
}

// ResolveID finds the full ID of one of an owner's containers by a unique prefix of it;
// the errors are those of Resolve.
func (c *maker) ResolveID(owner record.Owner, ref string) (string, error) {
	id, err := c.dir.ResolveID([]record.Owner{owner}, ref)
	if err != nil {
		return "", fmt.Errorf("container %q: %w", ref, err)
	}
	return id, nil
}

// Settled returns when no operation is under way on a container; one that a dead
// owner left is settled first. ErrNotFound if there is no such container, or none
// any more.
func (c *maker) Settled(ctx context.Context, id string) error {
	return c.change(ctx, id, opJoin, func(*record.Op, Container) error { return nil })
}

// startCode is the exit code of what could not be started.
const startCode = 128

// Start starts a container that was made and not started yet; any other is
// ErrFailedPrecondition. One that has lost its process since is prepared again,
// in what sandbox gives. What cannot be started is left stopped, with
// ReasonStartError, code 128 and why.
func (c *maker) Start(ctx context.Context, id string, sandbox func(context.Context) (Sandbox, error)) error {
	var failed error
	err := c.change(ctx, id, opStart, func(op *record.Op, ctr Container) error {
		if ctr.Status.State != Created {
			return fmt.Errorf("container %q is %s, not created: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
		}
		sb, err := sandbox(ctx)
		if err != nil {
			return err
		}
		if failed = c.startMade(ctx, op, ctr, sb); failed == nil || op.Stage() == "" {
			return failed
		}
		return c.startFailed(ctx, ctr.ID, failed)
	})
	if errors.Is(err, failed) {
		return err
	}
	return errors.Join(failed, err)
}

func (c *maker) startMade(ctx context.Context, op *record.Op, ctr Container, sb Sandbox) error {
	if !ctr.Status.Prepared {
		var err error
		ctr.Status, err = c.starter.prepare(ctx, op, ctr, Launch{
			Sandbox: func(context.Context) (Sandbox, error) { return sb, nil }, Attended: c.kept.Load(),
		})
		if err != nil {
			return err
		}
	}
	return c.starter.start(ctx, op, ctr, false)
}

// startFailed takes back what a start did and keeps why it failed.
func (c *maker) startFailed(ctx context.Context, id string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	if ctr.Status.Mounted == "" {
		ctr.Status.Mounted = unrecorded
	}
	if err := c.undoStart(ctx, ctr); err != nil {
		return err
	}
	now := c.o.Now()
	s, err := c.update(ctx, ctr, func(s *Status) {
		s.State, s.StartedAt, s.FinishedAt = Stopped, now, now
		s.ExitCode, s.CodeKnown, s.OOMKilled = startCode, true, false
		s.Reason, s.Message = ReasonStartError, cause.Error()
	})
	if err != nil {
		return err
	}
	return unlessFull(c.records, ctr, c.dir.PutFile(id, exitRecord, lastExit{
		Start: max(s.Start, 1), StartedAt: now, FinishedAt: now, ExitCode: startCode, CodeKnown: true, StartError: s.Message,
	}, false))
}
