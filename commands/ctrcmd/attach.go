package ctrcmd

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// attachOptions are the flags of attach.
type attachOptions struct {
	which
	options.Session
	NoStdin bool
}

func newAttach(env *cli.Env) *cobra.Command {
	o := &attachOptions{}
	cmd := &cobra.Command{
		Use:   "attach [flags] CONTAINER",
		Short: "Attach to a running container",
		Long: "Join the streams of a running container until it ends, whose exit code is then davit's,\n" +
			"or until the detach keys are typed. The container waits for who reads its output, but not for\n" +
			"ever: a client that takes nothing for ten seconds is let go.",
		Example: "  davit attach shell\n" +
			"  davit attach --no-stdin --sig-proxy=false web",
		Args:              cli.Args(0, 1),
		ValidArgsFunction: cli.First(1, names(env, ctr.Running)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			if err := o.which.check(); err != nil {
				return err
			}
			host, err := options.NewHost(env)
			if err != nil {
				return err
			}
			return o.open(cmd.Context(), env, o.Session.Keys(host))
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&o.NoStdin, "no-stdin", false, "do not attach to its standard input")
	o.Session.Flags(fs)
	latest(&o.which, cmd)
	return cmd
}

// patience is how long the container waits for somebody who attaches to it and does
// not take its output.
const patience = 10 * time.Second

// attachTarget is what to attach to.
type attachTarget struct {
	container ctr.Container
	keys      string
}

func (o *attachOptions) open(ctx context.Context, env *cli.Env, keys string) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	c, err := find(ctx, e, refs[0])
	if err != nil {
		return err
	}
	return o.run(ctx, env, e, attachTarget{container: c, keys: keys})
}

func (o *attachOptions) run(ctx context.Context, env *cli.Env, e *cli.Engine, t attachTarget) (err error) {
	c := t.container
	if !c.Status.Alive() {
		return notRunning(c, "davit start --attach "+c.Config.Name+" starts it")
	}
	s, err := openSession(env, sessionConfig{
		TTY: c.Config.Process.Terminal, Stdin: !o.NoStdin && c.Config.Process.Stdin,
		Stdout: true, Stderr: true, Keys: t.keys,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.streams.Patience = patience
	wait := ctx
	if o.SigProxy {
		wait = context.WithoutCancel(ctx)
		env.TakeSignals()
		catcher := catch(proxied(), func(sig syscall.Signal) {
			_ = e.Containers.Kill(wait, c.ID, spec.SignalName(sig))
		})
		defer catcher.stop()
	}
	// The exit is waited for from before the streams end: a container that
	// removes itself has no record after that.
	type exited struct {
		ctr.Exit
		err error
	}
	waiting, cancel := context.WithCancel(wait)
	defer cancel()
	exit := make(chan exited, 1)
	live, err := e.Containers.Attach(wait, c.ID, s.streams)
	if err != nil {
		return err
	}
	go func() {
		code, err := e.Containers.Wait(waiting, c.ID)
		exit <- exited{code, err}
		if err == nil {
			live.Ended()
		}
	}()
	detached, err := live.Wait(wait)
	if err = errors.Join(err, s.close()); err != nil {
		return cli.Cause(ctx, err)
	}
	if detached {
		return nil
	}
	if isClosed(s.broken) {
		return &cli.ExitError{Code: cli.CodeSignal + int(syscall.SIGPIPE)}
	}
	got := <-exit
	if got.err != nil {
		return cli.Cause(ctx, got.err)
	}
	return exitCode(got.Code, c.Config.Name)
}

// notRunning says that a container does not run.
func notRunning(c ctr.Container, hint string) error {
	err := say(errdefs.ErrFailedPrecondition, "container %q is not running: it is %s", c.Config.Name, show.State(c.Status))
	return cli.WithHint(err, "%s", hint)
}
