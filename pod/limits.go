package pod

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// Limits are what the kubelet allows a sandbox: the sum of what it allows the
// containers, and what the sandbox itself may need beside them.
type Limits struct {
	Resources spec.Resources `json:"resources,omitzero"`
	Overhead  spec.Resources `json:"overhead,omitzero"`
}

// settingsFile is what may change of a sandbox, in its durable folder.
const settingsFile = "settings.json"

// SetLimits keeps the limits of one of the kubelet's sandboxes, in place of those
// that it has, and sets them on its cgroup. That is done as far as it goes: what
// the kernel refuses is logged. ErrNotFound if there is no such sandbox.
func (c *Controller) SetLimits(ctx context.Context, id string, l Limits) error {
	if err := l.check(); err != nil {
		return err
	}
	s, err := c.GetSandbox(ctx, id)
	if err != nil {
		return err
	}
	was := c.limits(s)
	if err := c.dir.PutFile(s.ID, settingsFile, l, true); err != nil {
		return fmt.Errorf("keeping the limits of pod %q: %w", s.Config.Name, err)
	}
	is := c.limits(s)
	if was.Memory.Limit > 0 && is.Memory.Limit == 0 {
		is.Memory.Limit = -1
	}
	if was.CPU.Quota > 0 && is.CPU.Quota == 0 {
		is.CPU.Quota = -1
	}
	c.enforced(s, c.enforce(s, is))
	return nil
}

// enforce sets limits on a sandbox's cgroup. Without one they wait until the sandbox
// is made ready again; a slice's are its maker's.
func (c *files) enforce(s Sandbox, r spec.Resources) error {
	if s.Status.Cgroup == "" || s.Status.Slice != "" {
		return nil
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return err
	}
	return host.Set(s.Status.Cgroup, r.Linux())
}

// enforced logs that the limits that are kept of a sandbox could not be set.
func (c *files) enforced(s Sandbox, err error) {
	if err != nil {
		c.o.Log.Warn("limits of a sandbox are kept and not set", "pod", s.ID, "error", err)
	}
}

func (l Limits) check() error {
	for _, r := range []spec.Resources{l.Resources, l.Overhead} {
		if err := r.Check(); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom lifts those limits of a sandbox that a container without such a limit
// would be bound by: to be called before that is made.
func (c *riser) makeRoom(s Sandbox, cfg ctr.Config) error {
	was, is := c.limits(s), c.limits(s, ctr.Container{Config: cfg})
	if was.Memory == is.Memory && was.CPU == is.CPU {
		return nil
	}
	return c.enforce(s, is)
}

// limits are what holds for a sandbox's cgroup, with its containers and more. The kubelet's sums leave out the
// containers that have no limit, so that a sum is a limit only while every
// container has one.
func (c *files) limits(s Sandbox, more ...ctr.Container) spec.Resources {
	if s.Config.Kube == (Kube{}) {
		return s.Config.Resources
	}
	l := Limits{Resources: s.Config.Resources, Overhead: s.Config.Overhead}
	if err := c.dir.GetFile(s.ID, settingsFile, &l); err != nil && !errdefs.IsNotFound(err) {
		c.o.Log.Warn("reading the limits of a sandbox", "pod", s.ID, "error", err)
	}
	return l.sum(append(c.ctrs.In(s.ID), more...))
}

// sum is what the containers and the sandbox may use together.
func (l Limits) sum(containers []ctr.Container) spec.Resources {
	out, over := l.Resources, l.Overhead
	if out.Memory.Limit > 0 {
		out.Memory.Limit += max(over.Memory.Limit, 0)
	}
	out.Memory.Swap, out.Unified, out.Huge = 0, nil, nil // each container's own matter
	out.CPU.Cpus, out.CPU.Mems = "", ""
	if out.CPU.Shares > 0 {
		out.CPU.Shares += over.CPU.Shares
	}
	if out.CPU.Quota > 0 {
		// The kubelet's periods are all the same.
		out.CPU.Quota += max(over.CPU.Quota, 0)
	}
	for _, k := range containers {
		if k.Config.Infra {
			continue
		}
		has := k.Limits().Resources
		if out.Memory.Limit > 0 && has.Memory.Limit <= 0 {
			out.Memory.Limit = -1
		}
		if out.CPU.Quota > 0 && has.CPU.Quota <= 0 {
			out.CPU.Quota = -1
		}
	}
	return out
}
