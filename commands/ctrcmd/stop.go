package ctrcmd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// stopOptions are the flags of stop and restart.
type stopOptions struct {
	which
	Time    string
	Signal  string
	Force   bool
	Running bool
}

func newStop(env *cli.Env) *cobra.Command {
	o := &stopOptions{}
	cmd := &cobra.Command{
		Use:   "stop [flags] CONTAINER...",
		Short: "Stop running containers",
		Long: "Send containers their stop signal (TERM, or what their image or --stop-signal says), and KILL\n" +
			"when they have not ended in time. One that does not run is no error.",
		Example: "  davit stop web\n" +
			"  davit stop --time 2 web db\n" +
			"  davit stop --all",
		ValidArgsFunction: names(env, ctr.Running, ctr.Paused),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			stop, err := o.parse()
			if err != nil {
				return err
			}
			return o.stop(cmd.Context(), env, stop)
		},
	}
	o.flags(cmd)
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "stop all running containers")
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "stop those with `KEY=VALUE` (may be repeated)")
	fs.BoolVarP(&o.Ignore, "ignore", "i", false, "an absent container is no error")
	return cmd
}

func newRestart(env *cli.Env) *cobra.Command {
	o := &stopOptions{}
	cmd := &cobra.Command{
		Use:   "restart [flags] CONTAINER...",
		Short: "Stop containers and start them again",
		Long:  "Stop containers as davit stop does, and start them again. One that does not run is started.",
		Example: "  davit restart web\n" +
			"  davit restart --running --time 2",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			if o.Running {
				o.All = true
			}
			stop, err := o.parse()
			if err != nil {
				return err
			}
			return o.restart(cmd.Context(), env, stop)
		},
	}
	o.flags(cmd)
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "restart all containers")
	fs.BoolVar(&o.Running, "running", false, "restart all running containers")
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "restart those with `KEY=VALUE` (may be repeated)")
	return cmd
}

// flags adds what stop and restart share.
func (o *stopOptions) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&o.Time, "time", "t", "", "`SECONDS` until KILL; -1 waits for ever (default: the container's, 10)")
	fs.StringVar(&o.Signal, "signal", "", "`SIGNAL` in place of the container's stop signal")
	fs.BoolVar(&o.Force, "force", false, "also one that the kubelet owns")
	latest(&o.which, cmd)
}

// parse reads the flags.
func (o *stopOptions) parse() (ctr.StopOptions, error) {
	var stop ctr.StopOptions
	if err := o.which.check(); err != nil {
		return stop, err
	}
	if o.Signal != "" {
		if _, err := spec.ParseSignal(o.Signal); err != nil {
			return stop, cli.Usagef("--signal: %s", err)
		}
		stop.Signal = o.Signal
	}
	var err error
	stop.Timeout, err = parseTime(o.Time)
	return stop, err
}

// parseTime reads --time; nil if it is empty.
func parseTime(s string) (*time.Duration, error) {
	if s == "" {
		return nil, nil
	}
	d, err := spec.ParseStopTimeout(s)
	if err != nil {
		return nil, cli.Usagef("--time: %s", err)
	}
	return &d, nil
}

func (o *stopOptions) stop(ctx context.Context, env *cli.Env, stop ctr.StopOptions) error {
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, env, alive)
	if err != nil {
		return err
	}
	stop.Warn = func(s string) { fmt.Fprintln(env.Err, "Warning:", s) }
	return env.Each(refs, cli.Code, func(ref string) error {
		c, err := find(ctx, e, ref)
		if errdefs.IsNotFound(err) && o.Ignore {
			return nil
		}
		if err != nil {
			return err
		}
		if err := guard(c, &o.Force); err != nil {
			return err
		}
		if err := e.Pods.StopContainer(ctx, c.ID, stop); err != nil && !(errdefs.IsNotFound(err) && c.Config.Remove) {
			return cli.Cause(ctx, err)
		}
		_, err = fmt.Fprintln(env.Out, ref)
		return err
	})
}

func (o *stopOptions) restart(ctx context.Context, env *cli.Env, stop ctr.StopOptions) error {
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	among := anyState
	if o.Running {
		among = alive
	}
	refs, err := o.refs(ctx, env, among)
	if err != nil {
		return err
	}
	stop.Warn = func(s string) { fmt.Fprintln(env.Err, "Warning:", s) }
	return env.Each(refs, cli.Code, func(ref string) error {
		c, err := find(ctx, e, ref)
		if err != nil {
			return err
		}
		if err := guard(c, &o.Force); err != nil {
			return err
		}
		if err := e.Pods.RestartContainer(ctx, c.ID, stop); err != nil {
			return cli.Cause(ctx, err)
		}
		_, err = fmt.Fprintln(env.Out, ref)
		return err
	})
}
