package pod

import (
	"context"
	"slices"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod/health"
)

// Tend is the work of a pod's timer process: it starts containers again and checks
// their health (see package health), and returns when there is nothing to wait for.
// inherited says that the process was begun with the lock.
func (c *runner) Tend(ctx context.Context, id string, inherited bool) error {
	s, err := c.Get(ctx, id)
	if err != nil {
		return ctr.AbsentOK(err)
	}
	return health.Run(ctx, health.Options{
		Dir: c.runDir(id), Inherited: inherited, Pod: tended{c, s.ID, s.Config.Implicit}, Containers: c.ctrs, Log: c.o.Log,
	})
}

// CheckHealth runs a container's health check once. The errors are those of
// health.Check.
func (c *runner) CheckHealth(ctx context.Context, id string) (health.Outcome, error) {
	return health.Check(ctx, c.ctrs, id)
}

// tended is a pod for its timer process.
type tended struct {
	*runner
	id       string
	implicit bool
}

var _ health.Pod = tended{}

// ToCareFor lists the pod's containers that are to be started again or are checked.
func (p tended) ToCareFor(ctx context.Context) ([]ctr.Container, error) {
	if !p.implicit {
		list, err := p.ctrs.Care(ctx)
		return slices.DeleteFunc(list, func(k ctr.Container) bool { return k.Config.Sandbox != p.id }), err
	}
	k, err := p.ctrs.Get(ctx, p.id)
	if err != nil || !k.NeedsCare(p.o.Now()) {
		return nil, ctr.AbsentOK(err)
	}
	return []ctr.Container{k}, nil
}

// Settle settles a container of the pod that has ended, as its exit command would.
func (p tended) Settle(ctx context.Context, k ctr.Container) error {
	return p.exited(ctx, k.ID, k.Status.Start)
}

// Stop stops a container of the pod.
func (p tended) Stop(ctx context.Context, id string, o ctr.StopOptions) error {
	return p.StopContainer(ctx, id, o)
}

// tend has a pod's timer process look at its containers anew. That it cannot is no
// error of what was done before: it is tried again whenever davit is called.
func (c *exits) tend(ctx context.Context, id string) { c.ensure(ctx, id, false) }

// untend lets a timer process know that it may have to wait no more.
func (c *exits) untend(id string) {
	if err := health.Poke(c.runDir(id)); err != nil {
		c.o.Log.Debug("a timer process waits on, and will find nothing to do", "pod", id, "error", err)
	}
}

// revive has timer processes begun for pods that need one and have none: it was
// killed, or who was to begin it.
func (c *exits) revive(ctx context.Context) {
	list, err := c.ctrs.Care(ctx)
	if err != nil {
		c.o.Log.Warn("containers that are to be looked after cannot be found", "error", err)
	}
	var done []string
	for _, k := range list {
		if pod := k.Config.Sandbox; !slices.Contains(done, pod) {
			c.ensure(ctx, pod, true)
			done = append(done, pod)
		}
	}
}

func (c *exits) ensure(ctx context.Context, id string, known bool) {
	if len(c.o.TimerCommand) == 0 || ctx.Err() != nil {
		return
	}
	p := health.Process{Dir: c.runDir(id), Command: append(slices.Clone(c.o.TimerCommand), id), Known: known}
	host, err := c.o.Cgroups()
	if err == nil {
		p.Placement = host.MonitorPlacement(c.o.CgroupDriver.Parent)
		err = health.Ensure(p)
	}
	if err != nil {
		c.o.Log.Warn("a container may not be started again, nor its health be checked, until davit is called again",
			"pod", id, "error", err)
	}
}
