package pod

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// Launch is a container to make, and where.
type Launch struct {
	Container ctr.Config
	// Pod is the implicit sandbox to make for it; nil puts it into the one that
	// Container.Sandbox names.
	Pod *Config
	// Streams are attached before the process starts; nil leaves it detached.
	Streams *ctr.Streams
}

// CreateContainer records a container and, for an implicit one, its sandbox.
// Nothing runs, and an implicit sandbox holds nothing yet.
func (c *runner) CreateContainer(ctx context.Context, l Launch) (ctr.Container, error) {
	l, err := c.labelledLaunch(ctx, l.implicit())
	if err != nil {
		return ctr.Container{}, err
	}
	if l.Pod == nil {
		return c.ctrs.Create(ctx, l.Container)
	}
	_, op, err := c.create(ctx, l.Container.ID, *l.Pod, !l.Container.Remove)
	if err != nil {
		return ctr.Container{}, err
	}
	k, err := c.ctrs.Create(ctx, l.Container)
	if err != nil {
		return k, errors.Join(err, c.undo(ctx, op, opCreate))
	}
	return k, op.End()
}

// implicit gives a container and its own sandbox, if it is to have one, one ID.
func (l Launch) implicit() Launch {
	if l.Pod == nil {
		return l
	}
	id := l.Container.ID
	if id == "" {
		id = ctr.NewID()
	}
	p := *l.Pod
	p.Implicit, p.Name, p.Owner = true, l.Container.Name, l.Container.Owner
	p.Runtime, p.CgroupsOff = l.Container.Runtime, l.Container.CgroupsOff
	l.Pod = &p
	l.Container.ID, l.Container.Sandbox, l.Container.Implicit = id, id, true
	return l
}

// RunContainer creates and starts a container. The sandbox and the container
// are made at the same time and meet before the runtime makes the process. On an
// error the container stays, created, unless it is one that removes itself.
func (c *runner) RunContainer(ctx context.Context, l Launch) (*Running, error) {
	l, err := c.labelledLaunch(ctx, l.implicit())
	if err != nil {
		return nil, err
	}
	if l.Pod == nil {
		k, err := c.ctrs.Create(ctx, l.Container)
		if err != nil {
			return nil, err
		}
		return c.StartContainer(ctx, k.ID, l.Streams)
	}
	up, recorded := make(chan risen, 1), make(chan error, 1)
	go func() {
		r, err := c.createReady(ctx, l, recorded)
		up <- risen{r, err}
	}()
	k, err := c.ctrs.CreateBeside(ctx, l.Container, func() error { return <-recorded })
	if err != nil {
		return nil, errors.Join(err, c.abandon(ctx, <-up, l.Container.ID))
	}
	return c.launch(ctx, k, up, opening{streams: l.Streams})
}

// StartContainer starts a container that does not run, reviving its sandbox
// where it is down.
func (c *runner) StartContainer(ctx context.Context, id string, streams *ctr.Streams) (*Running, error) {
	return c.start(ctx, id, opening{streams: streams})
}

// StartAgain starts a container whose restart is due (ctr.Container.RestartDue),
// whether or not its wait is over: ErrFailedPrecondition if it is not due.
func (c *runner) StartAgain(ctx context.Context, id string) error {
	_, err := c.start(ctx, id, opening{again: true})
	return err
}

// opening is how a container is started: with a client attached, or again, with no
// user who asked for it.
type opening struct {
	streams *ctr.Streams
	again   bool
	begun   func()
}

func (c *runner) start(ctx context.Context, id string, o opening) (*Running, error) {
	k, err := c.ctrs.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if k.Status.Alive() {
		return nil, fmt.Errorf("container %q is %s already: %w", k.Config.Name, k.Status.State, errdefs.ErrFailedPrecondition)
	}
	up := make(chan risen, 1)
	o.begun = func() {
		go func() {
			r, err := c.bringUp(ctx, k.Config.Sandbox)
			up <- risen{r, err}
		}()
	}
	return c.launch(ctx, k, up, o)
}

// createReady makes the implicit sandbox of a launch and begins to make it
// ready, as one operation. It tells recorded as soon as there is a record of it.
func (c *riser) createReady(ctx context.Context, l Launch, recorded chan<- error) (*rising, error) {
	s, op, err := c.create(ctx, l.Container.ID, *l.Pod, !l.Container.Remove)
	recorded <- err
	if err != nil {
		return nil, err
	}
	r, err := c.rise(ctx, op, s)
	if !l.Container.Remove { // what is given back from now on, or cannot be yet, takes no container with it
		op.Turn(opStart)
	}
	if err != nil { // whether there is a container is not known yet
		return nil, errors.Join(err, c.undo(ctx, op, opStop))
	}
	return r, nil
}

// risen is the outcome of bringing a sandbox up.
type risen struct {
	*rising
	err error
}

// abandon takes back an implicit sandbox whose container could not be made.
func (c *runner) abandon(ctx context.Context, r risen, id string) error {
	ctx = context.WithoutCancel(ctx)
	var err error
	if r.rising != nil {
		err = r.close(ctx)
	}
	return errors.Join(err, ctr.AbsentOK(c.Remove(ctx, id, RemoveOptions{Force: true, Timeout: ctr.AtOnce()})))
}

// launch starts a container in a sandbox that is being brought up: already, or
// by o.begun, once the container's operation keeps others from taking it down.
func (c *runner) launch(ctx context.Context, k ctr.Container, up <-chan risen, o opening) (*Running, error) {
	var r risen
	rising := o.begun == nil
	meet := func() risen {
		if r.rising == nil && r.err == nil {
			r = <-up
		}
		return r
	}
	run := &Running{ID: k.ID, pods: c}
	err := c.ctrs.Launch(ctx, k.ID, ctr.Launch{
		Again: o.again, Attended: o.streams != nil,
		Begun: func() {
			if o.begun != nil {
				o.begun()
				rising = true
			}
		},
		Sandbox: func(context.Context) (ctr.Sandbox, error) {
			if r := meet(); r.err != nil {
				return ctr.Sandbox{}, r.err
			}
			return r.give, nil
		},
		Making: func() {
			if r := meet(); r.rising != nil {
				r.attach()
			}
		},
		BeforeStart: func(ctx context.Context) error {
			if r := meet(); r.err != nil { // a prepared container asks for no sandbox
				return r.err
			}
			if err := r.wait(ctx); err != nil {
				return err
			}
			return run.attach(ctx, o.streams)
		},
	})
	if rising && meet().rising != nil {
		err = errors.Join(err, r.close(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return nil, errors.Join(err, run.close(), c.afterExit(context.WithoutCancel(ctx), k.ID))
	}
	if now, err := c.ctrs.Get(ctx, k.ID); o.streams == nil && err == nil && now.Status.State == ctr.Stopped {
		// It was quick: the exit command may have come and gone. What that could not do
		// either stays on record, and is no error of the start.
		if err := c.afterExit(ctx, k.ID); err != nil {
			c.o.Log.Warn("clearing up after a container that has ended; the next command tries again", "container", k.Config.Name, "error", err)
		}
		return run, nil
	}
	if k.Config.Health != nil {
		c.tend(ctx, k.Config.Sandbox)
	}
	return run, nil
}

// Running is a container that was started by this process.
type Running struct {
	ID      string
	pods    *runner
	session *ctr.Session
	exit    chan exited
	cancel  context.CancelFunc
}

type exited struct {
	ctr.Exit
	err error
}

// attach connects a client and begins to wait for the exit, both before the
// process starts, so that neither output nor exit is missed.
func (r *Running) attach(ctx context.Context, streams *ctr.Streams) error {
	if streams == nil {
		return nil
	}
	session, err := r.pods.ctrs.Attach(ctx, r.ID, *streams)
	if err != nil {
		return err
	}
	ctx, r.cancel = context.WithCancel(ctx)
	r.session, r.exit = session, make(chan exited, 1)
	go func() {
		e, err := r.pods.ctrs.Wait(ctx, r.ID)
		r.exit <- exited{e, err}
	}()
	return nil
}

func (r *Running) close() error {
	if r.session == nil {
		return nil
	}
	r.cancel()
	<-r.exit
	return r.session.Close()
}

// Wait copies the streams until the container has ended or the client has
// detached, removes a container that is to remove itself, and returns the exit
// code. Without streams it only waits for the exit.
func (r *Running) Wait(ctx context.Context) (code int, detached bool, err error) {
	defer record.Span(ctx, "container wait", r.ID)()
	if r.session == nil {
		e, err := r.pods.ctrs.Wait(ctx, r.ID)
		return r.settled(ctx, exited{e, err})
	}
	defer func() { r.cancel() }()
	copied := make(chan error, 1)
	go func() {
		var err error
		detached, err = r.session.Wait(ctx)
		copied <- err
	}()
	var e exited
	select {
	case err = <-copied:
		if detached || err != nil {
			return 0, detached, err
		}
		e = <-r.exit
	case e = <-r.exit:
		// Clean up while the last output is copied.
		r.session.Ended()
		defer func() { err = errors.Join(err, <-copied) }()
	}
	return r.settled(ctx, e)
}

// settled removes or settles what has exited.
func (r *Running) settled(ctx context.Context, e exited) (int, bool, error) {
	if e.err != nil {
		return 0, false, e.err
	}
	code := e.Code
	if !e.Known {
		code = -1
	}
	return code, false, r.pods.afterExit(context.WithoutCancel(ctx), r.ID)
}

// StopContainer stops a container, and gives back what its sandbox holds where
// that is its alone.
func (c *runner) StopContainer(ctx context.Context, id string, o ctr.StopOptions) error {
	if _, err := c.hold(ctx, id); err != nil { // its own pod has its ID
		return err
	}
	before, err := c.ctrs.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := c.ctrs.Stop(ctx, id, o); err != nil {
		return err
	}
	err = c.afterExit(ctx, id)
	return c.dismiss(err, before)
}

// RestartContainer stops a container that runs and starts it. Somebody else starts
// it if the caller dies in between.
func (c *runner) RestartContainer(ctx context.Context, id string, o ctr.StopOptions) error {
	before, err := c.ctrs.Get(ctx, id)
	if err != nil {
		return err
	}
	o.Again = true
	if err := c.ctrs.Stop(ctx, id, o); err != nil {
		return err
	}
	if _, err = c.StartContainer(ctx, id, nil); err == nil {
		return nil
	}
	if now, _ := c.ctrs.Get(ctx, id); now.Status.Alive() && now.Status.Start > before.Status.Start {
		return nil // somebody was faster
	}
	return err
}

// RemoveContainer deletes a container, and its sandbox where that is its alone.
// The errors are those of ctr's Remove.
func (c *exits) RemoveContainer(ctx context.Context, id string, o ctr.RemoveOptions) error {
	k, err := c.ctrs.Get(ctx, id)
	if err != nil {
		return err
	}
	if k.Config.Infra {
		return fmt.Errorf("container %q is the infra container of pod %s, which it goes with: %w",
			k.Config.Name, k.Config.Sandbox[:12], errdefs.ErrFailedPrecondition)
	}
	if !k.Config.Implicit || (k.Status.Alive() && !o.Force) {
		return c.dismiss(c.ctrs.Remove(ctx, id, o), k)
	}
	err = c.Remove(ctx, k.Config.Sandbox, RemoveOptions{Force: o.Force, Timeout: o.Timeout, Volumes: o.Volumes})
	if errdefs.IsNotFound(err) {
		return c.ctrs.Remove(ctx, id, o)
	}
	return err
}

// ContainerExited settles a container whose process has ended; the monitor's
// exit command calls it. It does nothing when somebody else is at work on the
// container, who then settles it.
func (c *exits) ContainerExited(ctx context.Context, id string, start int) error {
	err := c.exited(ctx, id, start)
	c.revive(ctx)
	return err
}

func (c *exits) exited(ctx context.Context, id string, start int) error {
	k, done, err := c.ctrs.Exited(ctx, id, start)
	var busy *record.BusyError
	switch {
	case errors.As(err, &busy):
		return nil
	case errdefs.IsNotFound(err), err == nil && !done:
		return takeUp(ctx, c, id)
	case err != nil:
		return err
	}
	if k.Config.Infra {
		return c.infraExited(ctx, k)
	}
	return c.afterExit(ctx, id)
}

// takeUp does what is left to do of a container that somebody else has settled, should
// they have died over the rest.
func takeUp(ctx context.Context, c *exits, id string) error {
	k, err := c.ctrs.Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return c.dropOrphan(ctx, id)
	}
	if err != nil || !k.Config.Implicit {
		return err
	}
	if s, err := c.Get(ctx, k.Config.Sandbox); err == nil && s.Op != nil {
		err = c.settle(ctx, s.ID)
		return ctr.AbsentOK(err)
	}
	if slices.Contains(c.ctrs.Ended(), id) {
		return c.follow(ctx, id)
	}
	return nil
}

// infraExited marks a pod whose PID namespace has ended.
func (c *exits) infraExited(ctx context.Context, k ctr.Container) error {
	s, err := c.Get(ctx, k.Config.Sandbox)
	if err != nil {
		return ctr.AbsentOK(err)
	}
	_, err = c.update(ctx, s, func(n *Status) {
		if n.State == Ready {
			n.State, n.Message = NotReady, "the infra container has ended"
		}
	})
	return err
}

// afterExit does what is due when a container may have ended: it is settled. One
// that is to be started again keeps its sandbox; else one that removes itself is
// removed, with its sandbox where that is its alone, or that sandbox gives back
// what it holds.
func (c *exits) afterExit(ctx context.Context, id string) error {
	k, err := c.ctrs.Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return c.dropOrphan(ctx, id)
	}
	if err != nil || k.Status.Alive() {
		return err
	}
	return c.dismiss(c.afterEnd(ctx, k), k)
}

// dismiss dismisses the monitors of containers, as they were before they ended or
// were settled, when all that was due has been done; else their exit commands come.
func (c *settler) dismiss(err error, before ...ctr.Container) error {
	for _, k := range before {
		if err == nil {
			c.ctrs.Dismiss(k)
		}
	}
	return err
}

// afterEnd does afterExit's work for a container that has ended.
func (c *exits) afterEnd(ctx context.Context, k ctr.Container) error {
	id := k.ID
	_, due := k.RestartDue(c.o.Now())
	if k.Config.Remove && !k.Config.Infra && !due {
		return ctr.AbsentOK(c.RemoveContainer(ctx, id, ctr.RemoveOptions{}))
	}
	if k.Status.Mounted != "" {
		var busy *record.BusyError
		if _, _, err := c.ctrs.Exited(ctx, id, k.Status.Start); err != nil && !errors.As(err, &busy) {
			return ctr.AbsentOK(err)
		}
	}
	if due && !k.Status.Again.Asked { // who was asked does it, or is missed by a sweep
		c.tend(ctx, k.Config.Sandbox)
	}
	if due { // what follows its end is due still, when it is not started again
		return nil
	}
	if k.Status.StoppedByUser {
		c.untend(k.Config.Sandbox)
	}
	if !k.Config.Implicit {
		return c.ctrs.Followed(id)
	}
	return c.lower(ctx, k)
}

// lower takes an implicit sandbox down unless its container has been started
// again meanwhile.
func (c *exits) lower(ctx context.Context, k ctr.Container) error {
	op, err := c.begin(ctx, k.Config.Sandbox, opStop)
	if err != nil {
		return ctr.AbsentOK(err)
	}
	now, err := c.ctrs.Get(ctx, k.ID)
	if ctr.AbsentOK(err) != nil {
		return errors.Join(err, op.End())
	}
	// Who settles it comes here next. Its exit command, which finds it settled, is no
	// reason to go: it has nobody to tell of a network that cannot be left.
	settling := now.Op != nil && now.Status.Mounted != ""
	if err == nil && (now.Status.Alive() || now.Starting() || settling || now.Status.Start != k.Status.Start) {
		return op.End()
	}
	// Nobody starts the container while its sandbox is under this operation, which
	// is finished from now on whatever becomes of this process.
	if err := op.Advance(ctx, stageDown); err != nil {
		return errors.Join(err, op.End())
	}
	return errors.Join(c.ctrs.Followed(k.ID), c.down(ctx, op))
}
