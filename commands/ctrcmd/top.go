package ctrcmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
)

func newTop(env *cli.Env) *cobra.Command {
	var w which
	cmd := &cobra.Command{
		Use:   "top [flags] CONTAINER [DESCRIPTOR...]",
		Short: "List the processes of a running container",
		Long:  "List the processes of a running container.",
		Example: "  davit top web\n" +
			"  davit top web pid hpid user args",
		ValidArgsFunction: cli.First(1, names(env, ctr.Running)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !w.Latest && len(args) > 0 {
				w.Refs, args = args[:1], args[1:]
			}
			if err := w.check(); err != nil {
				return err
			}
			return top(cmd.Context(), env, w, args)
		},
	}
	if !env.Wants("top") {
		return cmd
	}
	cmd.Long += " " + show.TopColumns()
	cmd.Flags().SetInterspersed(false)
	latest(&w, cmd)
	return cmd
}

func top(ctx context.Context, env *cli.Env, w which, columns []string) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := w.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	c, err := find(ctx, e, refs[0])
	if err != nil {
		return err
	}
	if !c.Status.Alive() {
		return notRunning(c, "davit start "+c.Config.Name+" starts it")
	}
	rows, err := e.Containers.Top(ctx, c.ID, columns)
	if err != nil || len(rows) == 0 {
		return err
	}
	return cli.WriteTable(env.Out, rows[0], rows[1:])
}
