package pod

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// Keep is for a process that stays: until ctx ends, List and what is made of it
// answer from memory, of containers too, and Events can be subscribed to. What
// they return is shared then: it may not be changed.
func (c *Controller) Keep(ctx context.Context) error {
	if err := c.dir.Keep(ctx, func(id string) { c.changed(ctx, id) }); err != nil {
		return err
	}
	if err := c.ctrs.Keep(ctx); err != nil {
		return err
	}
	if err := c.events.begin(ctx); err != nil {
		return fmt.Errorf("beginning to tell events: %w", err)
	}
	context.AfterFunc(ctx, c.events.end)
	return nil
}

// changed tells of a sandbox that may have changed or gone; of any, for an empty ID.
func (c *Controller) changed(ctx context.Context, id string) {
	if id != "" {
		if _, err := c.dir.Kept(id); errdefs.IsNotFound(err) {
			c.rates.Drop(id)
		}
	}
	c.events.sandboxChanged(ctx, id)
}

// now is Get from memory, for a Controller that is kept.
func (c *records) now(id string) (Sandbox, error) {
	e, err := c.dir.Kept(id)
	if err != nil {
		return Sandbox{}, fmt.Errorf("pod %q: %w", id, err)
	}
	return c.sandbox(e), nil
}
