package pod

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/netw/netns"
)

// Interface is what the kernel counts of a sandbox's network interface.
type Interface = netns.Interface

// Usage is what a sandbox and its containers use. What it has not got is zero: a
// sandbox that is not ready has no counters, one on the host's network no
// interfaces.
type Usage struct {
	Sandbox Sandbox
	// Stats are those of all its containers together.
	Stats ctr.Stats
	// Rate is the CPU time that they take, in nanoseconds a second, since the
	// reading before; nil for the first one.
	Rate       *uint64
	Processes  uint64
	Interfaces []Interface
	// Containers are those that run, without the infra container.
	Containers []ctr.Usage
}

// meter reads what sandboxes use.
type meter struct {
	pods  *records
	rates cgroup.Rates
}

// Usage reads what a sandbox uses. ErrNotFound if there is none.
func (c *meter) Usage(ctx context.Context, id string) (Usage, error) {
	s, err := c.pods.Get(ctx, id)
	if err != nil {
		c.rates.Drop(id)
		return Usage{}, err
	}
	all, err := c.Usages(ctx, []Sandbox{s}, ctr.Brief)
	if len(all) == 0 {
		return Usage{}, err
	}
	return all[0], err
}

// Usages reads what sandboxes use. What cannot be read is in the error, which
// comes beside the others.
func (c *meter) Usages(ctx context.Context, pods []Sandbox, depth ctr.Depth) ([]Usage, error) {
	byPod, err := c.containers(ctx)
	if err != nil {
		return nil, err
	}
	errs := []error{}
	out := make([]Usage, len(pods))
	var paths []string
	var of []int // whose the path is
	for i, s := range pods {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out[i].Sandbox = s
		errs = append(errs, c.read(&out[i], depth))
		if out[i].Containers, err = c.pods.ctrs.Usages(ctx, byPod[s.ID], depth); err != nil {
			errs = append(errs, err)
		}
		if net := s.Status.Namespaces.Net; net != "" && ownNet(s.Config) {
			paths, of = append(paths, net), append(of, i)
		}
	}
	for i, interfaces := range netns.Counters(paths) {
		out[of[i]].Interfaces = interfaces
	}
	return out, errors.Join(errs...)
}

// containers are those of all pods, by pod, without infra containers.
func (c *meter) containers(ctx context.Context) (map[string][]ctr.Container, error) {
	all, err := c.pods.ctrs.List(ctx)
	if err != nil {
		c.pods.o.Log.Warn("some container records cannot be read", "error", err)
	}
	out := map[string][]ctr.Container{}
	for _, k := range all {
		if !k.Config.Infra {
			out[k.Config.Sandbox] = append(out[k.Config.Sandbox], k)
		}
	}
	return out, nil
}

// read reads the counters of the sandbox's own cgroup, which its containers' are
// in.
func (c *meter) read(u *Usage, depth ctr.Depth) error {
	s := u.Sandbox
	u.Stats.At = c.pods.o.Now()
	if s.Status.Cgroup == "" {
		return nil
	}
	host, err := c.pods.o.Cgroups()
	if err != nil {
		return err
	}
	get := host.Usage
	if depth == ctr.Detailed {
		get = host.Stats
	}
	stats, err := get(s.Status.Cgroup)
	if errdefs.IsNotFound(err) {
		c.rates.Drop(s.ID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("pod %q: %w", s.Config.Name, err)
	}
	u.Stats = ctr.Stats{At: stats.Time, Stats: stats}
	if rate, ok := c.rates.Add(s.ID, stats.Time, stats.CPU.Usage); ok {
		u.Rate = &rate
	}
	pids, err := host.Procs(s.Status.Cgroup)
	if errdefs.IsNotFound(err) {
		return nil
	}
	u.Processes = uint64(len(pids))
	return err
}
