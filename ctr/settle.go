package ctr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/leftover"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// unrecorded stands for a mount that may have been made without being written
// down: unmounting it is harmless where there is none.
const unrecorded = "?"

// undoTimeout bounds each undoing, which goes on when its caller has given up.
const undoTimeout = 2 * time.Minute

// Exited settles a container whose process has ended: the monitor's exit
// command calls it. done says that this call did it; it is false when somebody
// has done it before, when the process lives, and when start (0 is any) is not
// the current start. *record.BusyError when somebody is at work on the
// container, who then settles it.
func (c *settler) Exited(ctx context.Context, id string, start int) (ctr Container, done bool, err error) {
	op, err := c.dir.TryBegin(id, opExit)
	if err != nil {
		return ctr, false, fmt.Errorf("container %q: %w", id, err)
	}
	if prior, dead := op.Prior(); dead && prior.Kind != opExit {
		if err := c.undo(ctx, op, prior.Kind); err != nil {
			return ctr, false, err
		}
		ctr, err = c.Get(ctx, id)
		return ctr, true, err
	}
	ctr, err = c.Get(ctx, id)
	live := ctr.Status.Alive() || ctr.Status.Prepared
	if err != nil || (start > 0 && ctr.Status.Start != start) || live || ctr.Status.Mounted == "" {
		return ctr, false, errors.Join(err, op.End())
	}
	if err := c.finish(ctx, ctr); err != nil {
		op.Abandon()
		return ctr, false, err
	}
	return ctr, true, op.End()
}

// settleExit settles a container that has exited while an operation was under
// way on it, when the exit command found the lock taken. To be called after the
// operation's end: an exit command that starts later finds the lock free.
func (c *settler) settleExit(ctx context.Context, id string) error {
	e, err := c.dir.Get(id)
	if err != nil {
		return AbsentOK(err)
	}
	if !e.Status.Alive() {
		return nil
	}
	if _, found, err := monitor.ReadExit(c.persist(id, e.Status.Start)); err != nil || !found {
		return err
	}
	_, _, err = c.Exited(context.WithoutCancel(ctx), id, e.Status.Start)
	var busy *record.BusyError
	if errors.As(err, &busy) {
		return nil
	}
	return AbsentOK(err)
}

// finish writes down how a stopped container ended and gives back what it held:
// the runtime's state, the mount, the cgroup, the bundle. Every step is
// idempotent, and a container that is still alive, or waits to be started, is left
// alone.
func (c *settler) finish(ctx context.Context, ctr Container) error {
	if ctr.Status.Alive() || ctr.Status.Prepared {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	_, err := c.update(ctx, ctr, func(s *Status) {
		byUser, health := s.StoppedByUser, s.Health // what changes without an operation
		*s = ctr.Status
		s.StoppedByUser, s.Health = s.StoppedByUser || byUser, health
	})
	if err != nil {
		return err
	}
	err = Undo(
		func() error { return c.recordExit(ctx, ctr) },
		func() error { return c.release(ctx, ctr, c.unmount) },
	)
	if err != nil {
		return fmt.Errorf("settling container %q: %w", ctr.Config.Name, err)
	}
	return nil
}

// recordExit copies the exit to the durable root, unsynced.
func (c *settler) recordExit(ctx context.Context, ctr Container) error {
	s := ctr.Status
	if ctr.Config.Remove || s.State != Stopped {
		return nil
	}
	if err := failpoint.Reach(ctx, failpoint.ContainerExit); err != nil {
		return err
	}
	return unlessFull(c.records, ctr, c.dir.PutFile(ctr.ID, exitRecord, lastExit{
		Start: s.Start, StartedAt: s.StartedAt, FinishedAt: s.FinishedAt,
		ExitCode: s.ExitCode, CodeKnown: s.CodeKnown, OOMKilled: s.OOMKilled,
	}, false))
}

// unlessFull makes a warning of what could not be written down for after a reboot
// as the disk is full: nothing that runs is kept from stopping by that.
func unlessFull(c *records, ctr Container, err error) error {
	if disk, ok := record.DiskFaultOf(err); ok && (disk.Errno == syscall.ENOSPC || disk.Errno == syscall.EDQUOT) {
		c.o.Log.Warn("what became of a container is not on record for after a reboot", "container", ctr.Config.Name, "error", err)
		return nil
	}
	return err
}

// release gives back what a container without a process still holds. The
// runtime's delete and what becomes of the root filesystem (unmount or
// deleteRootfs) go side by side.
func (c *settler) release(ctx context.Context, ctr Container, rootfs func(context.Context, Container) error) error {
	hidden := hide(ctr, c.o.Paths) // a mount of what is unmounted next
	done := make(chan error, 1)
	go func() { done <- rootfs(ctx, ctr) }()
	err := Undo(
		func() error {
			// The bundle says that the runtime may still know the container.
			if err := c.runtimeDelete(ctx, ctr); err != nil {
				return err
			}
			if err := os.RemoveAll(c.bundle(ctr.ID)); err != nil {
				return err
			}
			return failpoint.Reach(ctx, failpoint.ContainerUnbundled)
		},
		func() error { return <-done },
		func() error { return leaveTarget(ctr.Config, c.dir.RunDir(ctr.ID)) },
		func() error { return unpinSubpaths(ctr.Config, c.dir.RunDir(ctr.ID)) },
		func() error { return hidden },
		func() error { return noteEnd(c.records, ctr) },
	)
	if err != nil {
		return err
	}
	_, err = c.update(ctx, ctr, func(s *Status) { s.Mounted, s.Cgroup = "", "" })
	return AbsentOK(err)
}

// runtimeDelete removes the runtime's state and the cgroup, if there is a bundle
// to say that there may be any.
func (c *settler) runtimeDelete(ctx context.Context, ctr Container) error {
	if _, err := os.Stat(filepath.Join(c.bundle(ctr.ID), "config.json")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	rt, err := c.o.Runtimes.Find(ctr.Config.Runtime)
	if err == nil {
		if err := failpoint.Reach(ctx, failpoint.RuntimeDelete); err != nil {
			return err
		}
		deleted := record.Span(ctx, "runtime delete", ctr.ID)
		err = rt.Delete(ctx, ctr.ID, true)
		deleted()
	}
	if oci.CannotRun(err) { // its hooks apart, what it would do is done here and below
		c.o.Log.Info("a container is deleted without its runtime", "container", ctr.Config.Name, "error", err)
		err = c.killAll(ctx, ctr)
	}
	if err := AbsentOK(err); err != nil {
		return err
	}
	err = Undo(
		func() error { return removeCgroup(ctx, c, ctr.Status.Cgroup) },
		func() error {
			if rt.Root == "" {
				return nil
			}
			return leftover.RemoveAll(rt.Root, ctr.ID)
		},
	)
	if err != nil {
		return fmt.Errorf("removing what the runtime left of container %q: %w", ctr.Config.Name, err)
	}
	return failpoint.Reach(ctx, failpoint.RuntimeDeleted)
}

// removeCgroup removes a container's cgroup with the processes in it: its runtime, if
// that was killed early, does not know that it has made it.
func removeCgroup(ctx context.Context, c *settler, path string) error {
	if path == "" {
		return nil
	}
	if err := c.killCgroup(ctx, path); err != nil {
		return err
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return err
	}
	return AbsentOK(host.Remove(ctx, path))
}

func (c *settler) unmount(ctx context.Context, ctr Container) error {
	if ctr.Status.Mounted == "" || ctr.Config.Rootfs != "" {
		return nil
	}
	images, err := c.o.Images(ctx)
	if err != nil {
		return err
	}
	return Undo(
		func() error {
			return eachImageMount(ctr, func(id string) error { return images.UnmountRootfs(ctx, id) })
		},
		func() error {
			if err := AbsentOK(images.UnmountRootfs(ctx, ctr.ID)); err != nil {
				return fmt.Errorf("unmounting root filesystem of container %q: %w", ctr.Config.Name, err)
			}
			return nil
		},
	)
}

// undo settles an operation of a kind that failed here or that a dead owner
// left: creating and starting are undone, stopping and removing are finished. It
// runs every step, joins their errors, and ends the operation only when all
// went well, so that what failed stays on record.
func (c *settler) undo(ctx context.Context, op *record.Op, kind string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
	defer cancel()
	e, err := c.dir.Get(op.ID())
	if err != nil {
		return errors.Join(AbsentOK(err), removePartial(ctx, c, op))
	}
	ctr := c.derive(e)
	if untouched(c.records, op, kind) {
		if err := c.finish(ctx, ctr); err != nil {
			op.Abandon()
			return err
		}
		return op.End()
	}
	if ctr.Status.Mounted == "" && (kind == opStart || kind == opMount) {
		ctr.Status.Mounted = unrecorded
	}
	switch {
	case kind == opCreate, kind == opRemove:
		return c.remove(ctx, op, ctr)
	case kind == opStart && e.Status.Alive() && ctr.Status.State == Stopped:
		err = c.finish(ctx, ctr) // it was started, and has ended since
	case kind == opStart && ctr.Status.State != Running:
		err = c.undoStart(ctx, ctr)
	case kind == opPause && ctr.Status.Alive():
		err = goOn(ctx, c, ctr)
	case kind == opCheckpoint:
		err = undoCheckpoint(ctx, c, op, ctr)
	case kind == opUpdate:
		if err := c.applyLimits(ctx, ctr, ctr.Limits()); err != nil {
			c.o.Log.Warn("limits could not be put back", "container", ctr.Config.Name, "error", err)
		}
		err = c.finish(ctx, ctr)
	case kind == opStop && ctr.Status.Alive():
		// The signal was sent; what remains of the grace time is for whoever
		// stops it next.
		err = nil
	default:
		err = c.finish(ctx, ctr)
	}
	if err != nil {
		op.Abandon() // what failed stays on record, for whoever comes next
		return err
	}
	if _, due := ctr.RestartDue(c.o.Now()); kind == opStart && ctr.Config.Remove && !ctr.Status.Alive() && !due {
		return c.remove(ctx, op, ctr)
	}
	return op.End()
}

// untouched says that an operation's owner died before it had changed anything: it may
// have been about to be refused.
func untouched(c *records, op *record.Op, kind string) bool {
	prior, dead := op.Prior()
	if !dead || prior.Stage != "" {
		return false
	}
	e, err := c.dir.Get(op.ID())
	if err != nil || e.Lost || e.Damaged != nil { // what a restart of the machine has ended is to be settled
		return false
	}
	return kind == opStart || kind == opPause || kind == opUpdate || (kind == opRemove && e.Status.State != Removing)
}

// undoStart takes back what prepare and start did. The monitor goes first: one
// whose start pipe has lost its other end goes on and runs the runtime.
func (c *settler) undoStart(ctx context.Context, ctr Container) error {
	err := Undo(
		failpoint.After(ctx, failpoint.UndoMonitor, func() error { return killMakers(ctx, c, ctr) }),
		failpoint.After(ctx, failpoint.UndoProcesses, func() error { return c.killAll(ctx, ctr) }),
		func() error { return c.release(ctx, ctr, c.unmount) },
	)
	if err != nil {
		return err
	}
	_, err = c.update(ctx, ctr, func(s *Status) {
		s.Prepared, s.Mounted, s.Cgroup = false, "", ""
		s.setProcesses(monitor.Started{})
	})
	return err
}

// killAll kills the container's process and what else is in its cgroup, and
// waits for the process to be gone.
func (c *settler) killAll(ctx context.Context, ctr Container) error {
	s := ctr.Status
	if s.Pid != 0 {
		if err := AbsentOK(monitor.Signal(s.Process(), sigKill)); err != nil {
			return fmt.Errorf("killing container %q: %w", ctr.Config.Name, err)
		}
	}
	if s.Cgroup != "" {
		if err := c.killCgroup(ctx, s.Cgroup); err != nil {
			return fmt.Errorf("killing processes of container %q: %w", ctr.Config.Name, err)
		}
	}
	if s.Pid == 0 {
		return nil
	}
	return AbsentOK(monitor.AwaitGone(ctx, s.Process()))
}

func (c *settler) killCgroup(ctx context.Context, path string) error {
	host, err := c.o.Cgroups()
	if err != nil {
		return err
	}
	return AbsentOK(host.Kill(ctx, path))
}

// killMonitor ends a monitor that is not to go on, and waits for it to be gone.
func (c *settler) killMonitor(ctx context.Context, ctr Container) error {
	s := ctr.Status
	if s.MonitorPid == 0 {
		return nil
	}
	if err := AbsentOK(monitor.Signal(s.Monitor(), sigKill)); err != nil {
		return fmt.Errorf("killing monitor of container %q: %w", ctr.Config.Name, err)
	}
	return AbsentOK(monitor.AwaitGone(ctx, s.Monitor()))
}

// killMakers kills a monitor as killMonitor does, and the runtime that it runs, which
// would go on making the container.
func killMakers(ctx context.Context, c *settler, ctr Container) error {
	return errors.Join(c.killMonitor(ctx, ctr), killStrays(ctx, c.records, ctr.ID))
}

// killStrays kills the monitors of a container, whether or not they are on record,
// and the runtimes that make, start or delete it, and waits for them to be gone.
func killStrays(ctx context.Context, c *records, id string) error {
	return killAllOf(ctx, func() ([]leftover.Process, error) { return processesOf(c, id) })
}

// killRounds is how often killAllOf looks: a monitor with its runtime takes three looks.
// What goes on forking under their names is nothing that makes a container.
const killRounds = 5

// killAllOf kills the processes that list finds and waits for them to be gone, until
// it finds none: a monitor may fork its runtime between the look and its death.
func killAllOf(ctx context.Context, list func() ([]leftover.Process, error)) error {
	for range killRounds {
		all, err := list()
		if len(all) == 0 || err != nil {
			return err
		}
		for _, p := range all {
			err = errors.Join(err, AbsentOK(monitor.Signal(p.Process, sigKill)))
		}
		for _, p := range all {
			err = errors.Join(err, AbsentOK(monitor.AwaitGone(ctx, p.Process)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// processesOf are the monitors of a container and the runtimes that make, start or
// delete it.
func processesOf(c *records, id string) ([]leftover.Process, error) {
	all, err := processes(c)
	return slices.DeleteFunc(all, func(p leftover.Process) bool { return p.ID != id }), err
}

// processes are those of all containers.
func processes(c *records) ([]leftover.Process, error) {
	return leftover.Processes(filepath.Dir(c.dir.RunDir("x")), runtimesDir(c.o.Paths))
}

// noteEnd leaves a note, while a container's operation is under way, that what
// follows the end of its process is due when the operation is over: the container
// is to be removed, or its sandbox is its alone. Whoever does that calls Followed;
// should they be killed before, Ended tells of it. For any other container there
// is no such note, and what the monitor has left goes.
func noteEnd(c *records, ctr Container) error {
	path := filepath.Join(c.exitDir(), ctr.ID)
	if ctr.Status.State == Removing || !(ctr.Config.Remove || ctr.Config.Implicit) {
		return absentOS(os.Remove(path))
	}
	if ctr.Status.Mounted == "" { // it was settled before
		return nil
	}
	err := os.MkdirAll(c.exitDir(), 0o700)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err != nil { // a full file system keeps nobody from stopping
		c.o.Log.Warn("the end of a container cannot be noted", "container", ctr.Config.Name, "error", err)
		return nil
	}
	return f.Close()
}

// Followed says that what follows a container's end is done.
func (c *ends) Followed(id string) error {
	return absentOS(os.Remove(filepath.Join(c.exitDir(), id)))
}

// Dismiss tells the monitor of a container, as it was read before its end was
// settled, that all that follows that end is done: if it waits with its exit
// command, that is not run. It is to be the last thing that is done of it.
func (c *ends) Dismiss(ctr Container) { dismiss(c.records, ctr.ID, ctr.monitor) }

func dismiss(c *records, id string, mon record.Process) {
	if err := monitor.Dismiss(mon); err != nil { // it comes, and finds nothing to do
		c.o.Log.Debug("an exit command is not kept from coming", "container", id, "error", err)
	}
}

// Ended lists the containers that have ended, when nobody is about to do what
// follows: their exit commands have ended, or never came. It reads one folder,
// which is empty as a rule.
func (c *ends) Ended() []string {
	entries, err := os.ReadDir(c.exitDir())
	if err != nil {
		return nil
	}
	var out []string
	for _, f := range entries {
		id, _, half := strings.Cut(f.Name(), ".")
		e, err := c.dir.Get(id)
		over := err == nil && e.Op == nil && !e.Status.Monitor().Alive()
		switch {
		case errdefs.IsNotFound(err): // removed behind its back
			_ = c.Followed(f.Name())
		case over && half: // a monitor was killed before it was whole
			_ = c.Followed(f.Name())
		case over:
			out = append(out, id)
		}
	}
	return out
}

// Dead lists the containers on which a dead owner left an operation.
func (c *records) Dead() ([]string, error) { return c.dir.Dead() }

// Settle finishes or undoes the operation that a dead owner left on a container,
// if it did.
func (c *settler) Settle(ctx context.Context, id string) error {
	op, err := c.dir.TryBegin(id, opExit)
	var busy *record.BusyError
	if errors.As(err, &busy) {
		return nil
	}
	if err != nil {
		return AbsentOK(err)
	}
	prior, dead := op.Prior()
	if !dead {
		return op.End()
	}
	return c.undo(ctx, op, prior.Kind)
}
