package pod

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// MakeContainer makes one of the kubelet's containers in a sandbox of its, ready
// to start, cfg.Kube being its key there: CRI's CreateContainer. The image must
// be local. cfg.Log.Path is relative to the sandbox's LogDir; either empty is no
// log. privileged says that the kubelet has privileged containers in the sandbox now,
// whatever it was made for: one to debug the others comes later.
//
// A call for a key under way joins that work, here or in another process, and one
// for a key that is done returns the same container. The work goes on when ctx
// ends. ErrNotFound if there is no such sandbox or image, ErrFailedPrecondition
// if the sandbox is not ready or is being stopped. On an error nothing is left.
func (c *maker) MakeContainer(ctx context.Context, cfg ctr.Config, privileged bool) (id string, err error) {
	if err := CheckKubeName("name", cfg.Kube.Name); err != nil || cfg.Kube.Name == "" {
		return "", fmt.Errorf("container without a name: %w", errors.Join(err, errdefs.ErrInvalidArgument))
	}
	s, err := c.takes(ctx, cfg.Sandbox)
	if err != nil {
		return "", err
	}
	cfg.Owner, cfg.Sandbox, cfg.Runtime = record.OwnerCRI, s.ID, s.Config.Runtime
	cfg.Name = containerName(s.Config.Kube, cfg.Kube)
	allowed := s.Config
	allowed.Privileged = allowed.Privileged || privileged
	if cfg, err = fit(allowed, cfg); err != nil {
		return "", err
	}
	if cfg, err = c.labelled(s.Config, cfg); err != nil {
		return "", err
	}
	if cfg.Log, err = containerLog(s.Config.LogDir, cfg.Log); err != nil {
		return "", err
	}
	return c.flights.join(ctx, "container "+cfg.Name, func(ctx context.Context, known func(string)) (string, error) {
		return unraced(ctx, func() (string, error) { return c.makeOnce(ctx, cfg, known) })
	})
}

// makeOnce finds the container of a name or makes it.
func (c *maker) makeOnce(ctx context.Context, cfg ctr.Config, known func(string)) (string, error) {
	id, err := c.ctrs.Find(ctx, record.OwnerCRI, cfg.Name)
	switch {
	case err == nil:
		k, err := c.ctrs.Get(ctx, id)
		if err == nil && k.Config.Sandbox != cfg.Sandbox {
			err = fmt.Errorf("container %q is in another sandbox: %w", cfg.Name, errdefs.ErrAlreadyExists)
		}
		return id, err
	case id != "" && errdefs.IsNotFound(err):
		return "", errGone
	case !errdefs.IsNotFound(err):
		return "", err
	}
	known(cfg.Sandbox)
	s, err := c.takes(ctx, cfg.Sandbox)
	if err == nil {
		err = c.makeRoom(s, cfg)
	}
	if err != nil {
		return "", err
	}
	k, err := c.ctrs.Make(ctx, cfg, c.takenBy(cfg.Sandbox))
	return k.ID, err
}

// takes returns a sandbox that takes containers: it is ready, and nobody is
// taking it down. A stop says so on record before it lists the containers, and a
// container is on record before this is asked: one of the two sees the other.
func (c *riser) takes(ctx context.Context, id string) (Sandbox, error) {
	s, err := c.GetSandbox(ctx, id)
	if err != nil {
		return s, err
	}
	if s.Status.State != Ready {
		return s, fmt.Errorf("pod %q is not ready: %w", s.Config.Name, errdefs.ErrFailedPrecondition)
	}
	if s.Op != nil && (s.Op.Kind == opStop || s.Op.Kind == opRemove) {
		return s, fmt.Errorf("pod %q is being taken down: %w", s.Config.Name, errdefs.ErrFailedPrecondition)
	}
	gone, err := c.hold(ctx, s.ID)
	if gone != "" {
		_, err = c.update(ctx, s, func(n *Status) { n.State, n.Message = NotReady, gone })
		return s, errors.Join(fmt.Errorf("pod %q: %s: %w", s.Config.Name, gone, errdefs.ErrFailedPrecondition), err)
	}
	return s, err
}

// takenBy tells a container what its sandbox gives, if it takes it.
func (c *riser) takenBy(sandbox string) func(context.Context) (ctr.Sandbox, error) {
	return func(ctx context.Context) (ctr.Sandbox, error) {
		s, err := c.takes(ctx, sandbox)
		if err != nil {
			return ctr.Sandbox{}, err
		}
		return c.give(s), nil
	}
}

// StartMade starts a container that MakeContainer made: once, in a sandbox that
// is ready. See ctr's Start for what is left of one that cannot be started. The
// work goes on when ctx ends.
func (c *maker) StartMade(ctx context.Context, id string) error {
	k, err := c.Made(ctx, id)
	if err != nil {
		return err
	}
	return c.detached(ctx, flightTimeout, "start "+k.ID, func(ctx context.Context) error {
		return c.ctrs.Start(ctx, k.ID, c.takenBy(k.Config.Sandbox))
	})
}

// StopMade stops one of the kubelet's containers: see ctr's Stop. The work goes
// on, to the kill, when ctx ends.
func (c *maker) StopMade(ctx context.Context, id string, timeout time.Duration) error {
	k, err := c.Made(ctx, id)
	if err != nil {
		return err
	}
	return c.detached(ctx, timeout+flightTimeout, fmt.Sprintf("stop %s %d", k.ID, timeout), func(ctx context.Context) error {
		if _, err := c.hold(ctx, k.Config.Sandbox); err != nil {
			return err
		}
		if err := c.ctrs.Stop(ctx, k.ID, ctr.StopOptions{Timeout: &timeout}); err != nil {
			return err
		}
		return c.afterExit(ctx, k.ID)
	})
}

// RemoveMade deletes one of the kubelet's containers, killing what runs, and the
// volumes that it was given. ErrNotFound if there is none. The work goes on when
// ctx ends.
func (c *maker) RemoveMade(ctx context.Context, id string) error {
	k, err := c.Made(ctx, id)
	if err != nil {
		return err
	}
	return c.detached(ctx, flightTimeout, "remove "+k.ID, func(ctx context.Context) error {
		if _, err := c.hold(ctx, k.Config.Sandbox); err != nil {
			return err
		}
		return c.RemoveContainer(ctx, k.ID, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce(), Volumes: true})
	})
}

// UpdateMade changes the limits of one of the kubelet's containers: see ctr's
// Update. Those that are kept of its sandbox are set again, before and after: cgroup v1
// takes no CPU quota above its parent's or below a child's, so that SetLimits may have
// come too early, before the kubelet raised its own cgroup or lowered the container's.
func (c *maker) UpdateMade(ctx context.Context, id string, l ctr.Limits) error {
	k, err := c.Made(ctx, id)
	if err != nil {
		return err
	}
	s, err := c.GetSandbox(ctx, k.Config.Sandbox)
	if err != nil {
		return err
	}
	if err := c.enforce(s, c.limits(s)); err != nil {
		c.o.Log.Debug("limits of a sandbox cannot be set before those of a container", "pod", s.ID, "error", err)
	}
	if err := c.ctrs.Update(ctx, k.ID, l); err != nil {
		return err
	}
	c.enforced(s, c.enforce(s, c.limits(s)))
	return nil
}

// ReopenMade has the log of one of the kubelet's containers opened anew: see
// ctr's ReopenLog. Calls at the same time are one.
func (c *maker) ReopenMade(ctx context.Context, id string) error {
	k, err := c.Made(ctx, id)
	if err != nil {
		return err
	}
	return c.detached(ctx, flightTimeout, "reopen "+k.ID, func(ctx context.Context) error {
		return c.ctrs.ReopenLog(ctx, k.ID)
	})
}

// detached does a work that does not end with ctx; an equal one under way is
// joined.
func (c *maker) detached(ctx context.Context, limit time.Duration, key string, f func(context.Context) error) error {
	_, err := c.flights.joinFor(ctx, limit, key, func(ctx context.Context, _ func(string)) (string, error) {
		return "", f(ctx)
	})
	return err
}

// Made returns one of the kubelet's containers as it is now, by its ID or a unique
// prefix of that. ErrNotFound for those of the command line and for what holds a
// sandbox open, *record.AmbiguousError for a prefix of several.
func (c *records) Made(ctx context.Context, id string) (ctr.Container, error) {
	k, err := c.ctrs.Get(ctx, id)
	if errdefs.IsInvalidArgument(err) { // what cannot be an ID is none's
		return k, fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	if errdefs.IsNotFound(err) && len(id) < fullID {
		if id, err = c.ctrs.ResolveID(record.OwnerCRI, id); err != nil {
			return k, err
		}
		k, err = c.ctrs.Get(ctx, id)
	}
	if err == nil && (k.Config.Owner != record.OwnerCRI || k.Config.Infra) {
		return ctr.Container{}, fmt.Errorf("container %q: %w", id, errdefs.ErrNotFound)
	}
	return k, err
}

// EachMade calls f for the kubelet's containers, oldest first, without those
// that are being made. Records that cannot be read are left out and named in the
// error, which comes beside the others.
func (c *records) EachMade(ctx context.Context, f func(*ctr.Container)) error {
	return c.ctrs.Each(ctx, func(k *ctr.Container) {
		if k.Config.Owner == record.OwnerCRI && !k.Config.Infra && k.Made() {
			f(k)
		}
	})
}

// containerName is the record's name of one of the kubelet's containers.
func containerName(p Kube, k ctr.Kube) string {
	return fmt.Sprintf("k8s_%s_%s_%s_%s_%d_%d", k.Name, p.Name, p.Namespace, p.UID, p.Attempt, k.Attempt)
}

// containerLog is the log of a container below its sandbox's folder.
func containerLog(dir string, log ctr.Log) (ctr.Log, error) {
	if dir == "" || log.Path == "" {
		return ctr.Log{Driver: ctr.LogNone}, nil
	}
	if !filepath.IsLocal(log.Path) || filepath.Clean(log.Path) == "." {
		return log, fmt.Errorf("log path %q is not one below the sandbox's log folder: %w", log.Path, errdefs.ErrInvalidArgument)
	}
	return ctr.Log{Path: filepath.Join(dir, log.Path), Dir: dir}, nil
}
