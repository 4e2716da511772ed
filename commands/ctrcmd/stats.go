package ctrcmd

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/live"
	"github.com/davit-containers/davit/ctr"
)

func newStats(env *cli.Env) *cobra.Command {
	var o live.StatsOptions
	var w which
	cmd := &cobra.Command{
		Use:   "stats [flags] [CONTAINER...]",
		Short: "Show what running containers use",
		Long: "Show what containers use of CPU, memory, network and disk: those that are named, or all that run.\n" +
			"The figures are read again and again until Ctrl-C, unless --no-stream is given.",
		Example: "  davit stats\n" +
			"  davit stats --no-stream --format '{{.Name}} {{.MemUsage}}' web",
		ValidArgsFunction: names(env, ctr.Running),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Refs = args
			if len(args) > 0 || w.Latest {
				if err := w.check(); err != nil {
					return err
				}
			}
			if err := o.Check(); err != nil {
				return err
			}
			return stats(cmd.Context(), env, &o, w)
		},
	}
	o.Flags(cmd.Flags())
	cmd.Flags().BoolVarP(&w.All, "all", "a", false, "show also those that do not run")
	latest(&w, cmd)
	return cmd
}

func stats(ctx context.Context, env *cli.Env, o *live.StatsOptions, w which) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	if len(w.Refs) == 0 && !w.Latest {
		return o.Stats(ctx, env, e, func(ctx context.Context) (live.Chosen, error) { return running(ctx, env, e, w.All) })
	}
	refs, err := w.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	var ids []string
	for _, ref := range refs {
		c, err := find(ctx, e, ref)
		if err != nil {
			return err
		}
		if !c.Status.Alive() && !w.All {
			return notRunning(c, "davit start "+c.Config.Name+" starts it")
		}
		ids = append(ids, c.ID)
	}
	return o.Stats(ctx, env, e, func(ctx context.Context) (live.Chosen, error) {
		var chosen live.Chosen
		for _, id := range ids {
			c, err := e.Containers.Get(ctx, id)
			switch {
			case err == nil:
				chosen.Containers = append(chosen.Containers, c)
			case !errdefs.IsNotFound(err):
				return chosen, err
			}
		}
		return chosen, nil
	})
}

// running are the containers that run, or all of them.
func running(ctx context.Context, env *cli.Env, e *cli.Engine, all bool) (live.Chosen, error) {
	list, err := e.Containers.List(ctx)
	if err != nil && len(list) == 0 {
		return live.Chosen{}, err
	}
	if err != nil {
		env.Log().Warn("some container records cannot be read", "error", err)
	}
	var chosen live.Chosen
	for _, c := range list {
		if !c.Config.Infra && (all || c.Status.Alive()) {
			chosen.Containers = append(chosen.Containers, c)
		}
	}
	return chosen, nil
}
