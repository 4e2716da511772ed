package ctrcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
)

func newCreate(env *cli.Env) *cobra.Command {
	o := &options.Create{}
	cmd := &cobra.Command{
		Use:   "create [flags] IMAGE [COMMAND [ARG...]]",
		Short: "Make a container without starting it",
		Long: "Make a container from an image, with everything that run would give it, and print its ID.\n" +
			"davit start starts it.",
		Example: "  davit create --name job docker.io/library/alpine sh -c 'date; hostname'\n" +
			"  davit create -it --name shell docker.io/library/alpine && davit start -ai shell",
		Args:              cli.Args(1, -1),
		ValidArgsFunction: cli.First(1, images(env)),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := options.NewHost(env)
			if err != nil {
				return err
			}
			plan, err := o.Plan(host, args)
			if err != nil {
				return err
			}
			return create(cmd.Context(), env, o, plan)
		},
	}
	if !env.Wants("create") {
		return cmd
	}
	cli.LongHelp(cmd)
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	o.Flags(fs)
	completeFlags(env, cmd)
	return cmd
}

func create(ctx context.Context, env *cli.Env, o *options.Create, plan options.Plan) error {
	p, err := prepare(ctx, env, o, plan)
	if err != nil {
		return err
	}
	c, err := p.engine.Pods.CreateContainer(ctx, p.launch)
	if err != nil {
		err = launchHint(ctx, env, p.engine, p.launch, cli.Cause(ctx, err))
		return errors.Join(err, p.undo(context.WithoutCancel(ctx)))
	}
	_, err = fmt.Fprintln(env.Out, c.ID)
	return err
}
