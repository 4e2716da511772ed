package volcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/volume"
)

// pruneOptions are the flags of volume prune.
type pruneOptions struct {
	Force  bool
	DryRun bool
	Filter []string
}

func newPrune(env *cli.Env) *cobra.Command {
	o := &pruneOptions{}
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove all volumes that no container uses",
		Long: "Remove all volumes that no container mounts, running or not, with what is in them, and print their\n" +
			"names. It asks first on a terminal; without one it needs --force.",
		Example: "  davit volume prune --dry-run\n" +
			"  davit volume prune --force --filter label=app=shop",
		Args: cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cli.ParseFilters(o.Filter, pruneKeys()...); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Force, "force", "f", false, "do not ask")
	fs.BoolVar(&o.DryRun, "dry-run", false, "print what would be removed")
	fs.StringArrayVar(&o.Filter, "filter", nil, "only those with `KEY=VALUE`: anonymous, label, label!, name, until (may be repeated)")
	return cmd
}

func pruneKeys() []string { return []string{"anonymous", "label", "label!", "name", "until"} }

func (o *pruneOptions) run(ctx context.Context, env *cli.Env) error {
	rows, err := list(ctx, env, append([]string{"dangling=true"}, o.Filter...))
	if err != nil {
		return err
	}
	if !o.Force && !o.DryRun && len(rows) > 0 {
		ok, err := env.Confirm(fmt.Sprintf("This removes %d volumes that no container uses, with what is in them.", len(rows)), "--force")
		if err != nil || !ok {
			return err
		}
	}
	e, err := open(ctx, env)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(rows))
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return env.Each(names, cli.Code, func(name string) error {
		if !o.DryRun {
			err := e.Volumes.RemoveUnused(ctx, name, users(ctx, e))
			var used *volume.InUseError
			if errors.As(err, &used) || errdefs.IsNotFound(err) {
				return nil // meanwhile
			}
			if err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(env.Out, name)
		return err
	})
}
