package podcmd

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/pod"
)

// pruneOptions are the flags of pod prune.
type pruneOptions struct {
	Force  bool
	DryRun bool
	Filter []string
}

func newPrune(env *cli.Env) *cobra.Command {
	o := &pruneOptions{}
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove all pods in which no container runs",
		Long: "Remove all pods in which no container runs, with their containers, but for those that the kubelet\n" +
			"owns, and print their IDs. It asks first on a terminal; without one it needs --force.",
		Example: "  davit pod prune --dry-run\n" +
			"  davit pod prune --force --filter label=app=shop",
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
		ok, err := env.Confirm("This removes all pods in which no container runs, with their containers.", "--force")
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
	match, err := show.PodMatcher(filters, world)
	if err != nil {
		return err
	}
	var ids []string
	for _, s := range world.Pods {
		if !s.Config.Implicit && s.Config.Owner == record.OwnerCLI && s.Op == nil && idle(world.Members(s)) && match(s) {
			ids = append(ids, s.ID)
		}
	}
	return env.Each(ids, cli.Code, func(id string) error {
		if !o.DryRun {
			err := e.Pods.Remove(ctx, id, pod.RemoveOptions{})
			if errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
				return nil // meanwhile
			}
			if err != nil {
				return cli.Cause(ctx, err)
			}
		}
		_, err := fmt.Fprintln(env.Out, id)
		return err
	})
}

// idle tells whether no container of a pod runs or is being worked on.
func idle(list []ctr.Container) bool {
	for _, c := range list {
		if !c.Config.Infra && (c.Status.Alive() || c.Op != nil) {
			return false
		}
	}
	return true
}
