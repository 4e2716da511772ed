package ctrcmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/live"
	"github.com/davit-containers/davit/ctr"
)

func newLogs(env *cli.Env) *cobra.Command {
	var o live.LogOptions
	var w which
	cmd := &cobra.Command{
		Use:   "logs [flags] CONTAINER...",
		Short: "Show what containers have written",
		Long: "Show what containers have written to their standard output and standard error, which become those\n" +
			"of davit.",
		Example: "  davit logs --tail 20 web\n" +
			"  davit logs --follow --timestamps --since 10m web",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Refs = args
			if err := w.check(); err != nil {
				return err
			}
			read, err := o.Parse(env)
			if err != nil {
				return err
			}
			return printLogs(cmd.Context(), env, w, read, o.Names)
		},
	}
	o.Flags(cmd.Flags())
	latest(&w, cmd)
	return cmd
}

func printLogs(ctx context.Context, env *cli.Env, w which, o ctr.LogOptions, names bool) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := w.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	var sources []ctr.Container
	failed := env.Each(refs, cli.Code, func(ref string) error {
		c, err := find(ctx, e, ref)
		if err == nil {
			sources = append(sources, c)
		}
		return err
	})
	if len(sources) == 0 {
		return failed
	}
	if err := live.Logs(ctx, env, e, live.Sources{Containers: sources, Names: names}, o); err != nil {
		return err
	}
	return failed
}
