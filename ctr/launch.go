package ctr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/spec"
)

// Stages of starting, each written down before what it names is done.
const (
	stageMount   = "mount"
	stageMonitor = "monitor"
	stageRuntime = "runtime"
	stageStart   = "start"
)

// Launch says how to start a container.
type Launch struct {
	// Sandbox tells what the pod gives; it is called when that is needed, so
	// that the pod can be made at the same time.
	Sandbox func(context.Context) (Sandbox, error)
	// Begun is called once the container's operation is under way: from then on
	// nobody takes its sandbox down. May be nil.
	Begun func()
	// Making is called when all is ready for the runtime to make the process, which
	// keeps one processor busy, and others idle. May be nil.
	Making func()
	// BeforeStart runs when the process exists and has not started yet: the last
	// moment for the network to be there and for a client to attach. May be nil.
	BeforeStart func(context.Context) error
	// Attended says that the caller stays until the container has ended, does what is
	// due then and dismisses the monitor: its exit command waits for a while. The caller
	// may be a server (see Keep).
	Attended bool
	// Again says that no user asked: it is for RestartDue, and is refused with
	// ErrFailedPrecondition if that is not so any more.
	Again bool
}

// Launch prepares a container unless it is prepared already, and starts it, as
// one operation. On an error the container is what it was before.
func (c *starter) Launch(ctx context.Context, id string, l Launch) error {
	tried, attended := false, false
	launch := func(op *record.Op, ctr Container) error {
		if _, due := ctr.RestartDue(c.o.Now()); l.Again && !due {
			return fmt.Errorf("container %q is not to be started again: %w", ctr.Config.Name, errdefs.ErrFailedPrecondition)
		}
		tried, attended = l.Again, l.delays(ctr)
		if l.Begun != nil {
			l.Begun()
		}
		if ctr.Status.State != Created || !ctr.Status.Prepared {
			var err error
			if ctr.Status, err = c.prepare(ctx, op, ctr, l); err != nil {
				return err
			}
		}
		if l.BeforeStart != nil {
			if err := l.BeforeStart(ctx); err != nil {
				return err
			}
		}
		return c.start(ctx, op, ctr, l.Again)
	}
	op, err := c.begin(ctx, id, opStart)
	if err == nil {
		err = operate(ctx, c.settler, op, launch)
	}
	if err == nil && !attended { // else the caller settles its end
		err = c.settleExit(ctx, id)
	}
	if err != nil && (tried || !l.Again) {
		return errors.Join(err, c.notStarted(ctx, id, l.Again, err))
	}
	return err
}

// notStarted writes down that a container could not be started again, or that a
// user knows that it could not be.
func (c *starter) notStarted(ctx context.Context, id string, again bool, cause error) error {
	ctr, err := c.Get(ctx, id)
	if err != nil || ctr.Status.Alive() || (again && ctx.Err() != nil) || (!again && !ctr.Status.Again.Asked) {
		return AbsentOK(err)
	}
	_, err = c.update(context.WithoutCancel(ctx), ctr, func(s *Status) {
		if !again {
			s.Again.Asked = false
			return
		}
		s.Again.Quick = s.quick() + 1
		s.Again.Count++
		s.Again.Tried = c.o.Now()
		s.Message = "it could not be started again: " + cause.Error()
	})
	return AbsentOK(err)
}

// change runs f as an operation on a container: a dead owner's operation is
// settled first, an error of f is undone, and an exit that nobody could settle
// while the operation was under way is settled after it.
func (c *settler) change(ctx context.Context, id, kind string, f func(*record.Op, Container) error) error {
	op, err := c.begin(ctx, id, kind)
	if err != nil {
		return err
	}
	return changeBy(ctx, c, op, f)
}

// changeBy is change for an operation that has begun.
func changeBy(ctx context.Context, c *settler, op *record.Op, f func(*record.Op, Container) error) error {
	id, kind := op.ID(), op.Kind()
	if err := operate(ctx, c, op, f); err != nil {
		return err
	}
	if err := c.settleExit(ctx, id); err != nil || kind == opStart || kind == opStop || c.ended == nil {
		return err // who starts or stops looks after the rest
	}
	if now, err := c.Get(ctx, id); err == nil && now.Status.State == Stopped {
		return c.ended(context.WithoutCancel(ctx), id)
	}
	return nil
}

// operate is changeBy without what comes after the operation.
func operate(ctx context.Context, c *settler, op *record.Op, f func(*record.Op, Container) error) error {
	id, kind := op.ID(), op.Kind()
	e, err := c.dir.Get(id)
	if err == nil {
		err = record.CheckMountNS(e.Meta)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("container %q: %w", id, err), op.End())
	}
	if err := f(op, c.derive(e)); err != nil {
		if (kind == opStart || kind == opPause || kind == opUpdate) && op.Stage() == "" {
			return errors.Join(err, op.End()) // refused: nothing was done
		}
		return errors.Join(err, c.undo(ctx, op, kind))
	}
	return op.End()
}

// begin takes the operation lock and first settles what a dead owner left.
func (c *settler) begin(ctx context.Context, id, kind string) (*record.Op, error) {
	return beginBy(ctx, c, id, func() (*record.Op, error) { return c.dir.Begin(ctx, id, kind) })
}

// beginBy is begin for those who take the lock in a way of their own.
func beginBy(ctx context.Context, c *settler, id string, lock func() (*record.Op, error)) (*record.Op, error) {
	op, err := lock()
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	prior, dead := op.Prior()
	if !dead {
		return op, nil
	}
	if err := c.undo(ctx, op, prior.Kind); err != nil {
		return nil, fmt.Errorf("settling %s of container %q that process %d left: %w", prior.Kind, id, prior.Pid, err)
	}
	// undo ended the operation; begin anew.
	return beginBy(ctx, c, id, lock)
}

// prepare mounts the root filesystem, has a monitor forked at the same time, and
// lets it run the runtime once the bundle is written. It returns the status after that.
func (c *starter) prepare(ctx context.Context, op *record.Op, ctr Container, l Launch) (Status, error) {
	id, cfg := ctr.ID, ctr.Config
	if ctr.Status.Alive() || ctr.Status.Prepared || ctr.Status.State == Removing {
		return ctr.Status, fmt.Errorf("container %q is %s: %w", cfg.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
	}
	if ctr.Status.Mounted != "" {
		// It has just ended, and its exit command has not come to settle it.
		if err := c.finish(ctx, ctr); err != nil {
			return ctr.Status, err
		}
		ctr.Status.Mounted, ctr.Status.Cgroup = "", ""
	}
	rt, err := c.runtime(cfg)
	if err != nil {
		return ctr.Status, err
	}
	if cfg.CgroupsOff {
		if rt, err = rt.WithoutCgroups(); err != nil {
			return ctr.Status, err
		}
	}
	if err := op.Advance(ctx, stageMount); err != nil {
		return ctr.Status, err
	}
	n := ctr.Status.Start + 1
	if err := c.makeRunFolders(id, n); err != nil {
		return ctr.Status, err
	}
	if err := failpoint.Reach(ctx, failpoint.ContainerFolders); err != nil {
		return ctr.Status, err
	}
	mcfg, err := c.monitorConfig(ctr, rt, n)
	if err != nil {
		return ctr.Status, err
	}
	if l.delays(ctr) {
		mcfg.ExitDelay = exitDelay
		if keptBy(cfg) {
			mcfg.ExitDelay = keptDelay
		}
	}
	if err := op.Advance(ctx, stageMonitor); err != nil {
		return ctr.Status, err
	}
	forked := record.Span(ctx, "monitor start", id)
	starting, err := monitor.Fork(ctx, mcfg)
	forked()
	if err != nil {
		return ctr.Status, err
	}
	started, err := c.runtimeCreate(ctx, op, ctr, starting, l)
	if err != nil {
		return ctr.Status, errors.Join(err, starting.Abort())
	}
	return c.update(ctx, ctr, func(s *Status) {
		s.Prepared, s.User = true, &started.user
		s.setProcesses(started.Started)
	})
}

// made is what the runtime made, and who it runs as.
type made struct {
	monitor.Started
	user spec.User
}

// runtimeCreate writes the bundle and releases the monitor.
func (c *starter) runtimeCreate(ctx context.Context, op *record.Op, ctr Container, starting *monitor.Starting, l Launch) (made, error) {
	_, err := c.update(ctx, ctr, func(s *Status) {
		s.Start++
		s.setProcesses(monitor.Started{Monitor: starting.Monitor()})
	})
	if err != nil {
		return made{}, err
	}
	rootfs, err := c.mount(ctx, ctr)
	if err != nil {
		return made{}, err
	}
	sb, err := l.Sandbox(ctx)
	if err != nil {
		return made{}, err
	}
	_, own, err := cgroupOf(c.o.CgroupDriver, ctr, sb)
	if err != nil {
		return made{}, err
	}
	defer warm(c, own)()
	_, err = c.update(ctx, ctr, func(s *Status) {
		s.Mounted, s.Cgroup = rootfs, own
	})
	if err != nil {
		return made{}, err
	}
	b, err := c.writeBundle(ctx, ctr, sb, rootfs)
	if err != nil {
		return made{}, err
	}
	if err := op.Advance(ctx, stageRuntime); err != nil {
		return made{}, err
	}
	if l.Making != nil {
		l.Making()
	}
	started, err := starting.Create(ctx)
	if err == nil && b.filter != "" {
		c.keepFilter(ctx, ctr, b.filter)
	}
	return made{started, b.user}, err
}

// warm has the runtime's moves of a process into a cgroup be quick, as it does that
// next; the function that is returned waits for that.
func warm(c *starter, cgroup string) (wait func()) {
	host, err := c.o.Cgroups()
	if err != nil || cgroup == "" {
		return func() {}
	}
	var warming sync.WaitGroup
	warming.Go(host.Warm)
	return warming.Wait
}

// mount mounts the container's root filesystem.
func (c *settler) mount(ctx context.Context, ctr Container) (string, error) {
	if ctr.Config.Rootfs != "" {
		return ctr.Config.Rootfs, checkDev(ctr.Config.Rootfs)
	}
	images, err := c.o.Images(ctx)
	if err != nil {
		return "", err
	}
	mounted := record.Span(ctx, "rootfs mount", ctr.ID)
	path, err := images.MountRootfs(ctx, ctr.ID)
	mounted()
	if err != nil {
		return "", fmt.Errorf("mounting root filesystem of container %q: %w", ctr.Config.Name, err)
	}
	return path, checkDev(path)
}

// checkDev returns ErrInvalidArgument for a root filesystem whose /dev is a link: runc
// 1.1 makes the links in there (fd, stdin, ptmx) by path, before it changes its root,
// and so where that link leads to on the host.
func checkDev(rootfs string) error {
	fi, err := os.Lstat(filepath.Join(rootfs, "dev"))
	if err == nil && !fi.IsDir() {
		return fmt.Errorf("/dev of the image is no folder: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// start lets a prepared process run, ctr being as it is since; again says that no user
// asked for it.
func (c *starter) start(ctx context.Context, op *record.Op, ctr Container, again bool) error {
	rt, err := c.runtime(ctr.Config)
	if err != nil {
		return err
	}
	if err := op.Advance(ctx, stageStart); err != nil {
		return err
	}
	if err := keepMark(c.records, ctr, false); err != nil {
		return err
	}
	if err := careFor(c.records, ctr); err != nil {
		return err
	}
	now := c.o.Now()
	if !restored(ctr) {
		if err := oci.Release(ctx, rt, ctr.ID, c.bundle(ctr.ID), ctr.Status.Process()); err != nil {
			return err
		}
	}
	if err := failpoint.Reach(ctx, failpoint.RuntimeStarted); err != nil {
		return err
	}
	s, err := c.update(ctx, ctr, func(s *Status) {
		s.started(again)
		if ctr.Config.Health != nil {
			s.Health = &HealthState{Status: HealthStarting}
		}
		s.State, s.Prepared, s.StartedAt = Running, false, now
		s.FinishedAt, s.ExitCode, s.CodeKnown, s.OOMKilled, s.Reason, s.Message = time.Time{}, 0, false, false, "", ""
	})
	if err != nil {
		return err
	}
	if restored(ctr) {
		if err := os.RemoveAll(restoreDir(c.records, ctr.ID)); err != nil {
			return fmt.Errorf("removing dump of container %q: %w", ctr.Config.Name, err)
		}
	}
	if ctr.Config.Remove {
		return nil // gone after a reboot anyway
	}
	if err := failpoint.Reach(ctx, failpoint.ContainerStart); err != nil {
		return err
	}
	return unlessFull(c.records, ctr, c.dir.PutFile(ctr.ID, exitRecord, lastExit{Start: s.Start, StartedAt: now}, false))
}

// started is what a start changes of what is known of others before it.
func (s *Status) started(again bool) {
	n := Again{}
	if again {
		n = Again{Count: s.Again.Count + 1, Quick: s.quick() + 1}
	}
	s.Again, s.StoppedByUser, s.Rebooted = n, false, false
}

// makeRunFolders makes the bundle and the exit folder of start n anew.
func (c *starter) makeRunFolders(id string, n int) error {
	bundle := c.bundle(id)
	if err := os.RemoveAll(bundle); err != nil {
		return fmt.Errorf("clearing bundle of container %q: %w", id, err)
	}
	for _, dir := range []string{bundle, c.persist(id, n), c.exitDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making run folder of container %q: %w", id, err)
		}
	}
	if n > 1 {
		if err := os.RemoveAll(c.persist(id, n-1)); err != nil {
			return fmt.Errorf("clearing exit folder of container %q: %w", id, err)
		}
	}
	return absentOS(os.Remove(filepath.Join(c.exitDir(), id)))
}

// exitDir holds a file for each container that has exited, until what follows is
// done (see noteEnd), for those who watch all of them; the code itself is read from
// the start's own folder.
func (c *records) exitDir() string { return filepath.Join(c.o.Paths.RunRoot, "exits") }

// delays tells whether the exit command of a container is to wait for the caller:
// not where others wait for it, to start the container again.
func (l Launch) delays(ctr Container) bool {
	return l.Attended && ctr.Config.Health == nil && ctr.RestartPolicy().Policy == RestartNo
}

// How long the exit command of a container that is attended waits: more than what its
// client does at its end takes, or a server when all its containers end at once; and
// what one that was killed leaves undone may wait.
const (
	exitDelay = 2 * time.Second
	keptDelay = 5 * time.Second
)

func (c *starter) exitCommand(id string, n int) []string {
	if len(c.o.ExitCommand) == 0 {
		return nil
	}
	return append(append([]string(nil), c.o.ExitCommand...), id, strconv.Itoa(n))
}

func absentOS(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
