package ctr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/logs"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
)

// Limits are what may be changed while a container runs.
type Limits struct {
	Resources   spec.Resources `json:"resources"`
	OOMScoreAdj *int           `json:"oomScoreAdj,omitempty"`
}

// with is l changed to what is set in n.
func (l Limits) with(n Limits) Limits {
	l.Resources = l.Resources.With(n.Resources)
	if n.OOMScoreAdj != nil {
		l.OOMScoreAdj = n.OOMScoreAdj
	}
	return l
}

// Limits are those that the container has: as it was made, or updated since.
func (c Container) Limits() Limits {
	if c.Status.Limits != nil {
		return *c.Status.Limits
	}
	return Limits{Resources: c.Config.Resources, OOMScoreAdj: c.Config.Process.OOMScoreAdj}
}

// settingsFile keeps in the durable root what was changed after the creation.
const settingsFile = "settings.json"

// settings are a container's, as they are written down.
type settings struct {
	Limits  *Limits  `json:"limits,omitempty"`
	Restart *Restart `json:"restart,omitempty"`
}

// stageUpdate says that an update has begun to change limits.
const stageUpdate = "update"

// Update changes the limits that are set in n, of a container that is created or
// runs: all of them, or none. They are kept for the container's life. One that is
// stopped is ErrFailedPrecondition, as is a memory limit that is below what the
// container uses and cannot give up; ErrInvalidArgument for what contradicts
// itself.
func (c *maker) Update(ctx context.Context, id string, n Limits) error {
	return c.change(ctx, id, opUpdate, func(op *record.Op, ctr Container) error {
		s := ctr.Status
		if s.State != Created && !s.Alive() {
			return fmt.Errorf("container %q is %s: %w", ctr.Config.Name, s.State, errdefs.ErrFailedPrecondition)
		}
		limits := ctr.Limits().with(n)
		if err := limits.Resources.Check(); err != nil {
			return err
		}
		if err := c.checkMemory(ctr, n.Resources.Memory.Limit); err != nil {
			return err
		}
		if err := op.Advance(ctx, stageUpdate); err != nil {
			return err
		}
		if err := c.applyLimits(ctx, ctr, limits); err != nil {
			return err
		}
		if _, err := c.update(ctx, ctr, func(s *Status) { s.Limits = &limits }); err != nil {
			return err
		}
		return c.dir.PutFile(id, settingsFile, settings{Limits: &limits, Restart: ctr.Status.Restart}, true)
	})
}

// checkMemory refuses a limit below what the container uses without what the
// kernel could take back: on cgroup v2 setting it would kill.
func (c *limiter) checkMemory(ctr Container, limit int64) error {
	if limit <= 0 || ctr.Status.Cgroup == "" {
		return nil
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return err
	}
	stats, err := host.Stats(ctr.Status.Cgroup)
	if err != nil {
		return AbsentOK(err)
	}
	m := stats.Memory
	used := m.Usage - min(m.Usage, m.ActiveFile+m.InactiveFile)
	if used > uint64(limit) {
		return fmt.Errorf("memory limit %d of container %q is below the %d bytes that it uses: %w",
			limit, ctr.Config.Name, used, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// applyLimits has the runtime set the limits of a container that has a process.
func (c *limiter) applyLimits(ctx context.Context, ctr Container, l Limits) error {
	if !ctr.Status.Alive() && !ctr.Status.Prepared {
		return nil // they are set when it is prepared
	}
	rt, err := c.runtime(ctr.Config)
	if err != nil {
		return err
	}
	res, err := c.enforceable(l.Resources)
	if err != nil {
		return err
	}
	if err := rt.Update(ctx, ctr.ID, res.Linux()); err != nil {
		return err
	}
	c.adjustOOM(ctr, l.OOMScoreAdj)
	return nil
}

// enforceable leaves out the limits of huge pages where the host cannot count
// them: the kubelet names every size that the machine has, mostly with 0.
func (c *limiter) enforceable(r spec.Resources) (spec.Resources, error) {
	if len(r.Huge) == 0 {
		return r, nil
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return r, err
	}
	for _, name := range host.Controllers() {
		if name == "hugetlb" {
			return r, nil
		}
	}
	for _, h := range r.Huge {
		if h.Limit > 0 {
			c.o.Log.Warn("this host has no hugetlb controller: the limit is not enforced", "page size", h.PageSize, "limit", h.Limit)
		}
	}
	r.Huge = nil
	return r, nil
}

// adjustOOM sets the score of a container's processes as far as this process
// may; what they fork later inherits it.
func (c *limiter) adjustOOM(ctr Container, adj *int) {
	if adj == nil {
		return
	}
	pids := []int{ctr.Status.Pid}
	if host, err := c.o.Cgroups(); err == nil && ctr.Status.Cgroup != "" {
		if all, err := host.Procs(ctr.Status.Cgroup); err == nil {
			pids = all
		}
	}
	value := []byte(strconv.Itoa(*adj))
	for _, pid := range pids {
		path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
		if now, err := os.ReadFile(path); err != nil || string(now) == string(value)+"\n" {
			continue
		}
		if err := os.WriteFile(path, value, 0); errors.Is(err, os.ErrPermission) {
			c.o.Log.Warn("oom_score_adj cannot be lowered by this process", "container", ctr.Config.Name, "wanted", *adj)
			return
		}
	}
}

// RuntimeSpec is the runtime spec of a container as it was made last. ErrNotFound
// if it has none now.
func (c *sessions) RuntimeSpec(id string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(c.bundle(id), "config.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("runtime spec of container %q: %w", id, errdefs.ErrNotFound)
	}
	return data, err
}

// ReopenLog has the monitor of a running container go on in a new log file, after
// somebody has renamed the old one. ErrFailedPrecondition if the container does
// not run or keeps no log; no file is made then.
func (c *sessions) ReopenLog(ctx context.Context, id string) error {
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	path := c.LogPath(ctr)
	switch {
	case !ctr.Status.Alive():
		return fmt.Errorf("container %q is %s, not running: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
	case path == "":
		return fmt.Errorf("container %q keeps no log: %w", ctr.Config.Name, errdefs.ErrFailedPrecondition)
	}
	if dir := ctr.Config.Log.Dir; dir != "" {
		if err := logs.MakeFolder(dir, path); err != nil {
			return fmt.Errorf("reopening log of container %q: %w", ctr.Config.Name, err)
		}
	}
	if err := monitor.ReopenLog(ctx, c.bundle(id), path); err != nil {
		return fmt.Errorf("container %q: %w", ctr.Config.Name, err)
	}
	return nil
}
