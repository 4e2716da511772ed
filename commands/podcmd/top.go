package podcmd

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
)

func newTop(env *cli.Env) *cobra.Command {
	w := &which{}
	cmd := &cobra.Command{
		Use:   "top [flags] POD [DESCRIPTOR...]",
		Short: "List the processes of a pod",
		Long:  "List the processes of all running containers of a pod.",
		Example: "  davit pod top shop\n" +
			"  davit pod top shop pid args",
		ValidArgsFunction: cli.First(1, names(env)),
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
	w.latest(cmd.Flags())
	return cmd
}

func top(ctx context.Context, env *cli.Env, w *which, columns []string) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := w.refs(ctx, e, anyPod)
	if err != nil {
		return err
	}
	s, err := find(ctx, e, refs[0])
	if err != nil {
		return err
	}
	list, err := members(ctx, e, s)
	if err != nil {
		return err
	}
	var headings []string
	var rows [][]string
	for _, c := range list {
		if !c.Status.Alive() {
			continue
		}
		table, err := e.Containers.Top(ctx, c.ID, columns)
		if errdefs.IsFailedPrecondition(err) || errdefs.IsNotFound(err) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return err
		}
		headings = append([]string{"CONTAINER"}, table[0]...)
		for _, row := range table[1:] {
			rows = append(rows, append([]string{c.Config.Name}, row...))
		}
	}
	if headings == nil {
		return cli.WithHint(say(errdefs.ErrFailedPrecondition, "no container of pod %q runs", s.Config.Name), "davit pod start %s", s.Config.Name)
	}
	return cli.WriteTable(env.Out, headings, rows)
}
