package ctrcmd

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// killOptions are the flags of kill.
type killOptions struct {
	which
	Signal string
	Force  bool
}

func newKill(env *cli.Env) *cobra.Command {
	o := &killOptions{}
	cmd := &cobra.Command{
		Use:   "kill [flags] CONTAINER...",
		Short: "Send a signal to running containers",
		Long:  "Send a signal to the first process of running containers: KILL, unless --signal says otherwise.",
		Example: "  davit kill web\n" +
			"  davit kill --signal HUP web",
		ValidArgsFunction: names(env, ctr.Running, ctr.Paused),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.Signal, "signal", "s", "KILL", "`SIGNAL` to send: a name or a number")
	fs.BoolVarP(&o.All, "all", "a", false, "all running containers")
	fs.BoolVar(&o.Force, "force", false, "also one that the kubelet owns")
	latest(&o.which, cmd)
	_ = cmd.RegisterFlagCompletionFunc("signal", cli.Words("HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"))
	return cmd
}

func (o *killOptions) check() error {
	if err := o.which.check(); err != nil {
		return err
	}
	if _, err := spec.ParseSignal(o.Signal); err != nil {
		return cli.Usagef("--signal: %s", err)
	}
	return nil
}

func (o *killOptions) run(ctx context.Context, env *cli.Env) error {
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, env, alive)
	if err != nil {
		return err
	}
	sig, err := spec.ParseSignal(o.Signal)
	if err != nil {
		return err
	}
	return env.Each(refs, cli.Code, func(ref string) error {
		c, err := find(ctx, e, ref)
		if err != nil {
			return err
		}
		if err := guard(c, &o.Force); err != nil {
			return err
		}
		if !c.Status.Alive() {
			return notRunning(c, "davit ps lists the containers that run")
		}
		if err := e.Containers.Kill(ctx, c.ID, o.Signal); err != nil {
			return err
		}
		if sig == syscall.SIGKILL {
			if err := settled(ctx, e, c.ID); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintln(env.Out, ref)
		return err
	})
}

// killWait bounds the wait for a killed container's end.
const killWait = 5 * time.Second

// settled waits until a container that was killed is seen to have ended.
func settled(ctx context.Context, e *cli.Engine, id string) error {
	wait, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	_, err := e.Containers.Wait(wait, id)
	if errdefs.IsNotFound(err) || wait.Err() != nil && ctx.Err() == nil {
		return nil // gone, or busy in the kernel: the signal was sent
	}
	return cli.Cause(ctx, err)
}
