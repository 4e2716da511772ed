package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/netw/netns"
)

// Stop ends all containers of a pod, at the same time, and then gives back what
// the pod holds. Those that remove themselves are removed. One that is stopped is no
// error. A nil timeout is each container's own.
func (c *Controller) Stop(ctx context.Context, id string, timeout *time.Duration) error {
	if s, err := c.Get(ctx, id); err == nil && s.Config.Implicit {
		err := c.StopContainer(ctx, id, ctr.StopOptions{Timeout: timeout})
		if !errdefs.IsNotFound(err) {
			return err
		}
	}
	if err := c.unready(ctx, id); err != nil {
		return err
	}
	var before []ctr.Container
	for range stopRounds {
		ended, err := c.stopContainers(ctx, id, timeout)
		if err != nil {
			return err
		}
		before = append(before, ended...)
		if err := failpoint.Reach(ctx, failpoint.PodEnded); err != nil {
			return err
		}
		op, err := c.begin(ctx, id, opStop)
		if err != nil {
			return err
		}
		// Whoever starts one from now on waits, and makes the sandbox ready again.
		ctrs, err := c.ContainersOf(ctx, id)
		if err == nil && !slices.ContainsFunc(ctrs, inUse) {
			return c.dismiss(c.down(ctx, op), before...)
		}
		if err := errors.Join(err, op.End()); err != nil {
			return err
		}
	}
	return fmt.Errorf("pod %q: its containers are started again and again while it is stopped: %w", id, errdefs.ErrUnavailable)
}

// stopRounds is how often a stop of a pod stops the containers that were started when
// it had stopped them.
const stopRounds = 10

// inUse tells whether a container needs its sandbox as it is.
func inUse(k ctr.Container) bool {
	return !k.Config.Infra && (k.Status.Alive() || k.Starting())
}

// unready marks a sandbox of the kubelet's that is to be stopped, before anything
// else: nobody puts a container into it from then on.
func (c *settler) unready(ctx context.Context, id string) error {
	s, err := c.Get(ctx, id)
	if err != nil || s.Config.Owner != record.OwnerCRI || s.Status.State != Ready {
		return err
	}
	_, err = c.update(ctx, s, func(n *Status) {
		if n.State == Ready {
			n.State, n.Message = NotReady, "it is being stopped"
		}
	})
	return err
}

// stopContainers stops the containers, infra after the others, and returns what they
// were before.
func (c *Controller) stopContainers(ctx context.Context, id string, timeout *time.Duration) ([]ctr.Container, error) {
	if _, err := c.hold(ctx, id); err != nil {
		return nil, err
	}
	s, err := c.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	ctrs, err := c.ContainersOf(ctx, id)
	if err != nil {
		return nil, err
	}
	var g errgroup.Group
	for _, k := range ctrs {
		if k.ID == s.Status.Infra {
			continue
		}
		g.Go(func() error {
			err := c.ctrs.Stop(ctx, k.ID, ctr.StopOptions{Timeout: timeout})
			if err == nil && k.Config.Remove { // its exit command may have found the stop at work
				err = c.RemoveContainer(ctx, k.ID, ctr.RemoveOptions{})
			}
			return ctr.AbsentOK(err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return ctrs, c.removeInfra(ctx, s)
}

// stageDown says that a sandbox is being taken down.
const stageDown = "down"

// down gives back what a sandbox holds, and ends the operation. It does not
// touch its containers.
func (c *settler) down(ctx context.Context, op *record.Op) error {
	s, err := c.Get(ctx, op.ID())
	if err != nil {
		return errors.Join(err, op.End())
	}
	if op.Stage() != stageDown {
		if err := op.Advance(ctx, stageDown); err != nil {
			op.Abandon()
			return err
		}
	}
	if s.Status.State == Ready {
		// Whatever comes of the rest, it is not ready any more.
		s, err = c.update(ctx, s, func(n *Status) { n.State, n.Message = NotReady, "it is being stopped" })
		if err != nil {
			op.Abandon()
			return err
		}
	}
	if err := c.giveBack(ctx, s, func() error { return nil }); err != nil {
		op.Abandon()
		_, uerr := c.update(ctx, s, func(n *Status) { n.Message = err.Error() })
		return errors.Join(fmt.Errorf("stopping pod %q: %w", s.Config.Name, err), uerr)
	}
	_, err = c.update(ctx, s, func(n *Status) {
		why := n.Message
		*n = Status{State: n.State, StartedAt: n.StartedAt}
		if why == ctr.RebootMessage {
			n.Message = why
		}
		if n.State != NotReady {
			n.State = Created
		}
	})
	return errors.Join(err, op.End())
}

// giveBack undoes what making a sandbox ready did: idempotent steps from the
// record, all of them run. The containers are taken away meanwhile; nothing of
// theirs may be alive.
func (c *settler) giveBack(ctx context.Context, s Sandbox, containers func() error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	gone := make(chan error, 1)
	go func() { gone <- containers() }()
	return ctr.Undo(
		func() error {
			if err := c.detach(ctx, s); err != nil {
				return err // which needs the namespace once more
			}
			if err := failpoint.Reach(ctx, failpoint.PodDetached); err != nil {
				return err
			}
			return netns.Remove(c.nsDir(s.ID))
		},
		failpoint.After(ctx, failpoint.PodUnshm, func() error { return c.unmountShm(s.ID) }),
		func() error { return c.removeFiles(s.ID) },
		func() error { return <-gone },
		func() error { return c.removeInfra(ctx, s) },
		failpoint.After(ctx, failpoint.PodUnpinned, func() error { return c.unpinPID(s.ID) }),
		failpoint.After(ctx, failpoint.PodUncgroup, func() error { return c.removeCgroup(ctx, s) }),
	)
}

// detach gives back the network. What fails stays recorded as attached.
func (c *settler) detach(ctx context.Context, s Sandbox) error {
	if !s.Status.Attached {
		return nil
	}
	if err := ctr.AbsentOK(c.o.Networks.Detach(ctx, c.request(s))); err != nil {
		return fmt.Errorf("detaching network: %w", err)
	}
	_, err := c.update(ctx, s, func(n *Status) { n.Attached, n.Restarted = false, false })
	return errors.Join(ctr.AbsentOK(err), c.refreshPeers(ctx, s))
}

func (c *settler) removeCgroup(ctx context.Context, s Sandbox) error {
	if s.Status.Cgroup == "" && s.Status.Slice == "" {
		return nil
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return err
	}
	if s.Status.Slice != "" {
		return host.Prune(c.o.CgroupDriver.Parent) // the monitors'
	}
	if err := ctr.AbsentOK(host.Remove(ctx, s.Status.Cgroup)); err != nil {
		return err
	}
	if s.Config.Kube != (Kube{}) {
		return host.Prune(c.o.CgroupDriver.Parent) // the kubelet's own cgroups are the kubelet's
	}
	return host.Prune(filepath.Dir(s.Status.Cgroup))
}

func (c *files) removeFiles(id string) error {
	var errs []error
	for _, name := range []string{hostsFile, resolvFile, hostnameFile} {
		if err := os.Remove(filepath.Join(c.runDir(id), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// RemoveOptions say how to remove a pod.
type RemoveOptions struct {
	// Force stops containers that run.
	Force bool
	// Volumes deletes the containers' anonymous volumes, too.
	Volumes bool
	// Timeout is the time that running containers have to stop before they are killed;
	// nil is each container's own, a negative one is for ever.
	Timeout *time.Duration
}

// Remove deletes a pod and its containers. ErrFailedPrecondition if one of them
// runs and Force is not set, ErrNotFound if there is no such pod. Repeating a
// removal that was cut short finishes it. It ends with ctx only where a container is
// given for ever to stop: whoever comes next finishes it then, and kills that.
func (c *settler) Remove(ctx context.Context, id string, o RemoveOptions) error {
	s, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	ctrs, err := c.containersToRemove(ctx, s)
	if err != nil {
		return err
	}
	for _, k := range ctrs {
		if !o.Force && k.Status.Alive() && k.ID != s.Status.Infra {
			return fmt.Errorf("container %q of pod %q is %s: %w", k.Config.Name, s.Config.Name, k.Status.State, errdefs.ErrFailedPrecondition)
		}
	}
	op, err := c.beginRemove(ctx, id)
	if err != nil {
		return err
	}
	_, dead := op.Prior()
	switch {
	case dead && o.Volumes:
		err = op.Supersede(ctx, stageVolumes)
	case dead:
		err = op.Supersede(ctx, stageAll)
	case o.Volumes:
		err = op.Advance(ctx, stageVolumes)
	}
	if err != nil {
		op.Abandon()
		return err
	}
	if !o.Force { // one that was started meanwhile
		o.Timeout = ctr.AtOnce()
	}
	err = c.remove(ctx, op, ctr.RemoveOptions{Force: true, Timeout: o.Timeout, Volumes: o.Volumes})
	return c.dismiss(err, ctrs...)
}

// beginRemove is begin for a removal, which takes the place of a start or a stop that
// a dead owner left, or that could not be finished: what keeps the sandbox from being
// taken down does not keep its removal from being on record, and retried.
func (c *settler) beginRemove(ctx context.Context, id string) (*record.Op, error) {
	op, err := c.dir.Begin(ctx, id, opRemove)
	if err != nil {
		return nil, fmt.Errorf("pod %q: %w", id, err)
	}
	prior, dead := op.Prior()
	if !dead || prior.Kind == opStart || prior.Kind == opStop {
		return op, nil
	}
	op.Abandon()
	if op, err = c.begin(ctx, id, opRemove); err != nil {
		return nil, err
	}
	return op, nil
}

// Stages of a removal: stageVolumes says that it takes the containers' anonymous
// volumes with it, for whoever finishes it, stageAll that it takes the place of another
// operation.
const (
	stageVolumes = "volumes"
	stageAll     = "all"
)

// remove is the way out, for a removal and for undoing a creation.
func (c *settler) remove(ctx context.Context, op *record.Op, o ctr.RemoveOptions) error {
	caller := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	s, err := c.Get(ctx, op.ID())
	if err != nil {
		return errors.Join(ctr.AbsentOK(err), op.Remove(ctx))
	}
	if s, err = c.update(ctx, s, func(n *Status) { n.State = Removing }); err != nil {
		op.Abandon()
		return ctr.AbsentOK(err)
	}
	ctrs, err := c.containersToRemove(ctx, s)
	if err != nil {
		op.Abandon()
		return err
	}
	limit, bounded := removalTime(ctrs, o.Timeout)
	if bounded {
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), limit)
	} else {
		ctx, cancel = context.WithCancel(caller)
	}
	defer cancel()
	pinAgain(c.records, s)
	var alive, ended errgroup.Group
	for _, k := range ctrs {
		if k.ID == s.Status.Infra {
			continue // it goes after the others, whose PID namespace ends with it
		}
		g := &ended
		if k.Status.Alive() || k.Starting() {
			g = &alive
		}
		g.Go(func() error {
			return ctr.AbsentOK(c.ctrs.Remove(ctx, k.ID, o))
		})
	}
	stopped := alive.Wait()
	if stopped != nil && !bounded && ctx.Err() != nil {
		op.Abandon() // containers run on, with all that they have
		return errors.Join(fmt.Errorf("removing pod %q: %w", s.Config.Name, stopped), ended.Wait())
	}
	if err := errors.Join(stopped, c.removeInfra(ctx, s), c.giveBack(ctx, s, ended.Wait)); err != nil {
		op.Abandon()
		return fmt.Errorf("removing pod %q: %w", s.Config.Name, err)
	}
	return op.Remove(ctx)
}

// removalTime bounds how long a removal of containers may take: more than those that
// run are given to stop. It is not bounded where one is given for ever.
func removalTime(ctrs []ctr.Container, asked *time.Duration) (limit time.Duration, bounded bool) {
	longest := time.Duration(0)
	for _, k := range ctrs {
		if !inUse(k) {
			continue
		}
		grace := k.Config.Grace(asked)
		if grace < 0 {
			return 0, false
		}
		longest = max(longest, grace)
	}
	limit = failpoint.Deadline(undoTimeout) + longest
	return limit, limit > 0
}

// containersToRemove are those of a pod; an implicit one has only its own, which
// is found without reading all records.
func (c *settler) containersToRemove(ctx context.Context, s Sandbox) ([]ctr.Container, error) {
	if !s.Config.Implicit {
		return c.ContainersOf(ctx, s.ID)
	}
	k, err := c.ctrs.Get(ctx, s.ID)
	if err != nil {
		return nil, ctr.AbsentOK(err)
	}
	return []ctr.Container{k}, nil
}
