package ctrcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

func newPause(env *cli.Env) *cobra.Command {
	o := &freezeOptions{from: ctr.Running}
	cmd := &cobra.Command{
		Use:               "pause [flags] CONTAINER...",
		Short:             "Freeze the processes of running containers",
		Long:              "Freeze all processes of running containers, until davit unpause lets them go on.",
		Example:           "  davit pause web\n  davit pause --all",
		ValidArgsFunction: names(env, ctr.Running),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			return o.run(cmd.Context(), env)
		},
	}
	o.flags(cmd, "freeze all running containers")
	return cmd
}

func newUnpause(env *cli.Env) *cobra.Command {
	o := &freezeOptions{from: ctr.Paused}
	cmd := &cobra.Command{
		Use:               "unpause [flags] CONTAINER...",
		Short:             "Let paused containers go on",
		Long:              "Let the processes of paused containers go on.",
		Example:           "  davit unpause web\n  davit unpause --all",
		ValidArgsFunction: names(env, ctr.Paused),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			return o.run(cmd.Context(), env)
		},
	}
	o.flags(cmd, "let all paused containers go on")
	return cmd
}

// freezeOptions are the flags of pause and unpause.
type freezeOptions struct {
	which
	Force bool
	from  ctr.State
}

func (o *freezeOptions) flags(cmd *cobra.Command, all string) {
	cmd.Flags().BoolVarP(&o.All, "all", "a", false, all)
	cmd.Flags().StringArrayVarP(&o.Filter, "filter", "f", nil, "those with `KEY=VALUE` (may be repeated)")
	cmd.Flags().BoolVar(&o.Force, "force", false, "also one that the kubelet owns")
	latest(&o.which, cmd)
}

func (o *freezeOptions) run(ctx context.Context, env *cli.Env) error {
	if err := o.which.check(); err != nil {
		return err
	}
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, env, func(c ctr.Container) bool { return c.Status.State == o.from })
	if err != nil {
		return err
	}
	do := e.Containers.Pause
	if o.from == ctr.Paused {
		do = e.Containers.Unpause
	}
	return env.Each(refs, cli.Code, func(ref string) error {
		c, err := find(ctx, e, ref)
		if err != nil {
			return err
		}
		if err := guard(c, &o.Force); err != nil {
			return err
		}
		if err := do(ctx, c.ID); err != nil {
			return cli.Cause(ctx, err)
		}
		_, err = fmt.Fprintln(env.Out, ref)
		return err
	})
}
