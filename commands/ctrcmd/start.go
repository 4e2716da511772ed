package ctrcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// startOptions are the flags of start.
type startOptions struct {
	which
	options.Session
	Attached    bool
	Interactive bool
}

func newStart(env *cli.Env) *cobra.Command {
	o := &startOptions{}
	cmd := &cobra.Command{
		Use:   "start [flags] CONTAINER...",
		Short: "Start containers that do not run",
		Long: "Start containers that were created or have stopped. One that runs already is left alone.\n" +
			"With --attach davit stays with the container, as run does.",
		Example: "  davit start web\n" +
			"  davit start --attach --interactive shell\n" +
			"  davit start --all --filter should-start-on-boot=true",
		ValidArgsFunction: names(env, ctr.Created, ctr.Stopped),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&o.All, "all", false, "start all containers that do not run")
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "start those with `KEY=VALUE` (may be repeated)")
	latest(&o.which, cmd)
	fs.BoolVarP(&o.Attached, "attach", "a", false, "attach to its output and wait for its end")
	fs.BoolVarP(&o.Interactive, "interactive", "i", false, "attach to its standard input, too")
	o.Session.Flags(fs)
	return cmd
}

func (o *startOptions) check() error {
	if err := o.which.check(); err != nil {
		return err
	}
	if (o.Attached || o.Interactive) && (o.All || len(o.Filter) > 0 || len(o.Refs) > 1) {
		return cli.Usagef("--attach and --interactive are for one container")
	}
	return nil
}

func (o *startOptions) run(ctx context.Context, env *cli.Env) error {
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, env, func(c ctr.Container) bool { return !c.Status.Alive() })
	if err != nil {
		return err
	}
	if o.Attached || o.Interactive {
		return o.attached(ctx, env, e, refs[0])
	}
	return env.Each(refs, cli.Code, func(ref string) error {
		c, err := find(ctx, e, ref)
		if err != nil {
			return err
		}
		if err := guard(c, nil); err != nil {
			return err
		}
		if !c.Status.Alive() {
			if _, err := e.Pods.StartContainer(ctx, c.ID, nil); err != nil {
				return launchHint(ctx, env, e, pod.Launch{Container: c.Config}, cli.Cause(ctx, err))
			}
		}
		_, err = fmt.Fprintln(env.Out, ref)
		return err
	})
}

// attached starts one container and stays with it.
func (o *startOptions) attached(ctx context.Context, env *cli.Env, e *cli.Engine, ref string) (err error) {
	host, err := options.NewHost(env)
	if err != nil {
		return err
	}
	c, err := find(ctx, e, ref)
	if err != nil {
		return err
	}
	if err := guard(c, nil); err != nil {
		return err
	}
	if c.Status.Alive() {
		return o.rejoin(ctx, env, e, host, c)
	}
	s, err := openSession(env, sessionConfig{
		TTY: c.Config.Process.Terminal, Stdin: o.Interactive && c.Config.Process.Stdin,
		Stdout: true, Stderr: true, Keys: o.Session.Keys(host),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	inner, started := untilStarted(ctx)
	running, err := e.Pods.StartContainer(inner, c.ID, &s.streams)
	started()
	if err != nil {
		return errors.Join(s.close(), launchHint(ctx, env, e, pod.Launch{Container: c.Config}, cli.Cause(ctx, err)))
	}
	return accompany(ctx, env, e, company{session: s, running: running, proxy: o.SigProxy, name: c.Config.Name})
}

// rejoin attaches to a container that runs already.
func (o *startOptions) rejoin(ctx context.Context, env *cli.Env, e *cli.Engine, h options.Host, c ctr.Container) error {
	a := attachOptions{NoStdin: !o.Interactive, Session: o.Session}
	return a.run(ctx, env, e, attachTarget{container: c, keys: o.Session.Keys(h)})
}
