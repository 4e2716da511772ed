package podcmd

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/pod"
)

func newStop(env *cli.Env) *cobra.Command {
	var wait grace
	return newVerb(env, verb{
		use:   "stop",
		short: "Stop pods",
		long: "Stop all containers of pods, at the same time, each as davit stop does; the pods then give back their\n" +
			"network and namespaces. One that is stopped is no error.",
		example: "  davit pod stop shop\n  davit pod stop --time 2 --all",
		all:     "stop all pods",
		flags:   wait.flag,
		check:   wait.check,
		do: func(ctx context.Context, e *cli.Engine, s pod.Sandbox) error {
			return e.Pods.Stop(ctx, s.ID, wait.timeout)
		},
	})
}

func newRestart(env *cli.Env) *cobra.Command {
	var wait grace
	return newVerb(env, verb{
		use:     "restart",
		short:   "Stop pods and start them again",
		long:    "Stop all containers of pods and start all of them, also those that did not run.",
		example: "  davit pod restart shop\n  davit pod restart --time 2 shop",
		all:     "restart all pods",
		flags:   wait.flag,
		check:   wait.check,
		do: func(ctx context.Context, e *cli.Engine, s pod.Sandbox) error {
			if err := e.Pods.Stop(ctx, s.ID, wait.timeout); err != nil {
				return err
			}
			return e.Pods.Start(ctx, s.ID)
		},
	})
}

// grace is the flag --time.
type grace struct {
	text    string
	timeout *time.Duration
}

func (g *grace) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&g.text, "time", "t", "", "`SECONDS` until KILL; -1 waits for ever (default: each container's, 10)")
}

func (g *grace) check() error {
	if g.text == "" {
		return nil
	}
	d, err := spec.ParseStopTimeout(g.text)
	if err != nil {
		return cli.Usagef("--time: %s", err)
	}
	g.timeout = &d
	return nil
}

// eachIn does something with those containers of a pod that are in a state. One
// that has ended meanwhile is passed over.
func eachIn(ctx context.Context, e *cli.Engine, s pod.Sandbox, in ctr.State, do func(ctx context.Context, id string) error) error {
	list, err := members(ctx, e, s)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list {
		if c.Status.State != in {
			continue
		}
		if err := do(ctx, c.ID); err != nil && !errdefs.IsFailedPrecondition(err) && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
