package netcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/netw"
)

func newRemove(env *cli.Env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm NETWORK...",
		Aliases: []string{"remove"},
		Short:   "Remove networks",
		Long: "Remove networks that davit network create made. One that a pod is attached to stays. The\n" +
			"exit code is 1 if a network is absent, 2 if one is in use.",
		Example: "  davit network rm backend\n  davit network rm --force backend db",
		Args:    cli.Args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.Engine(cmd.Context(), cli.Networks)
			if err != nil {
				return err
			}
			return env.Each(args, cli.RemoveCode, func(name string) error {
				err := e.Networks.Remove(cmd.Context(), name)
				if errdefs.IsNotFound(err) && force {
					return nil
				}
				if err != nil {
					return absent(cmd.Context(), e.Networks, name, removeHint(err))
				}
				_, err = fmt.Fprintln(env.Out, name)
				return err
			})
		},
		ValidArgsFunction: networkNames(env, made),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "an absent network is no error")
	return cmd
}

// removeHint says what to do about a network that cannot be removed.
func removeHint(err error) error {
	var inUse *netw.InUseError
	if errors.As(err, &inUse) && len(inUse.Sandboxes) > 0 {
		return cli.WithHint(err, "davit ps --all --filter network=%s, then davit rm", inUse.Network)
	}
	return err
}

// pruneOptions are the flags of network prune.
type pruneOptions struct {
	Force  bool
	DryRun bool
	Filter []string
}

func newPrune(env *cli.Env) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove networks that nothing uses",
		Long: "Remove the networks that davit network create made and that no pod is attached to, and\n" +
			"print their names. It asks first on a terminal; without one it needs --force.",
		Example: "  davit network prune --dry-run\n  davit network prune --force --filter until=24h",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep, err := o.parse(env.Now())
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, keep)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&o.Force, "force", "f", false, "do not ask")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "print what would be removed")
	cmd.Flags().StringArrayVar(&o.Filter, "filter", nil, "remove only networks with `KEY=VALUE`: label, label!, until")
	return cmd
}

// parse returns what says of a network whether it stays.
func (o pruneOptions) parse(now time.Time) (func(netw.Network) bool, error) {
	f, err := cli.ParseFilters(o.Filter, "label", "label!", "until")
	if err != nil {
		return nil, err
	}
	var before []time.Time
	for _, v := range f["until"] {
		t, err := cli.ParseTime(v, now)
		if err != nil {
			return nil, err
		}
		before = append(before, t)
	}
	return func(n netw.Network) bool {
		old := len(before) == 0
		for _, t := range before {
			old = old || n.Created.Before(t)
		}
		return !made(n) || !old || !f.Labels(n.Labels)
	}, nil
}

func (o pruneOptions) run(ctx context.Context, env *cli.Env, keep func(netw.Network) bool) error {
	e, err := env.Engine(ctx, cli.Networks)
	if err != nil {
		return err
	}
	all, err := e.Networks.Networks(ctx)
	if err != nil && len(all) == 0 {
		return err
	}
	var names []string
	var inUse *netw.InUseError
	for _, n := range all {
		if keep(n) {
			continue
		}
		switch err := e.Networks.Unused(n.Name); {
		case err == nil:
			names = append(names, n.Name)
		case !errors.As(err, &inUse):
			return err
		}
	}
	if !o.Force && !o.DryRun && len(names) > 0 {
		yes, err := env.Confirm("This removes the networks that no pod is attached to: "+strings.Join(names, ", ")+".", "--force")
		if err != nil || !yes {
			return err
		}
	}
	return env.Each(names, cli.Code, func(name string) error {
		if !o.DryRun {
			err := e.Networks.Remove(ctx, name)
			if errors.As(err, &inUse) || errdefs.IsNotFound(err) {
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
