package ctr

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record"
)

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
		if err := op.Advance(string(to)); err != nil {
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

// thaw lets a frozen container's processes see what they were sent.
func (c *records) thaw(ctx context.Context, ctr Container) error {
	if ctr.Status.State != Paused {
		return nil
	}
	rt, err := c.runtime(ctr.Config)
	if err != nil {
		return err
	}
	if err := rt.Resume(ctx, ctr.ID); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		return fmt.Errorf("thawing container %q: %w", ctr.Config.Name, err)
	}
	return nil
}
