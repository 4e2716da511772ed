package ctrcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// pruneOptions are the flags of container prune.
type pruneOptions struct {
	Force  bool
	DryRun bool
	Filter []string
}

func newPrune(env *cli.Env) *cobra.Command {
	o := &pruneOptions{}
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove all containers that do not run",
		Long: "Remove all containers that were created or have stopped, but for those that the kubelet owns, and\n" +
			"print their IDs. It asks first on a terminal; without one it needs --force.",
		Example: "  davit container prune --dry-run\n" +
			"  davit container prune --force --filter until=24h",
		Args: cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cli.ParseFilters(o.Filter, "label", "label!", "until"); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Force, "force", "f", false, "do not ask")
	fs.BoolVar(&o.DryRun, "dry-run", false, "print what would be removed")
	fs.StringArrayVar(&o.Filter, "filter", nil, "only those with `KEY=VALUE`: label, label!, until (may be repeated)")
	return cmd
}

func (o *pruneOptions) run(ctx context.Context, env *cli.Env) error {
	if !o.Force && !o.DryRun {
		ok, err := env.Confirm("This removes all containers that do not run.", "--force")
		if err != nil || !ok {
			return err
		}
	}
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	world, err := show.Read(ctx, env)
	if err != nil {
		return err
	}
	filters, err := cli.ParseFilters(o.Filter, "label", "label!", "until")
	if err != nil {
		return err
	}
	filter, err := show.NewFilter(filters, world)
	if err != nil {
		return err
	}
	var ids []string
	for _, c := range world.Containers {
		idle := c.Status.State == ctr.Created || c.Status.State == ctr.Stopped
		if idle && c.Op == nil && !c.Config.Infra && c.Config.Owner == record.OwnerCLI && filter.Match(c) {
			ids = append(ids, c.ID)
		}
	}
	return env.Each(ids, cli.Code, func(id string) error {
		if !o.DryRun {
			if err := e.Pods.RemoveContainer(ctx, id, ctr.RemoveOptions{}); err != nil {
				return ignoreAbsent(cli.Cause(ctx, err))
			}
		}
		_, err := fmt.Fprintln(env.Out, id)
		return err
	})
}
