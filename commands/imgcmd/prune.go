package imgcmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// pruneOptions are the flags of image prune.
type pruneOptions struct {
	All    bool
	Force  bool
	DryRun bool
	Filter []string
}

func newPrune(env *cli.Env) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove images that nothing uses",
		Long: "Remove the images without a name, with --all every image that no container was made of.\n" +
			"It asks first.",
		Example: "  davit image prune --dry-run --all\n  davit image prune --all --force --filter until=24h",
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
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "also those that have a name")
	fs.BoolVarP(&o.Force, "force", "f", false, "do not ask")
	fs.BoolVar(&o.DryRun, "dry-run", false, "show what would go")
	fs.StringArrayVar(&o.Filter, "filter", nil, "remove only images with `KEY=VALUE`: label, label!, until")
	return cmd
}

// parse returns what says of an image whether it stays; nil if all may go.
func (o pruneOptions) parse(now time.Time) (func(img.Image) bool, error) {
	f, err := cli.ParseFilters(o.Filter, "label", "label!", "until")
	if err != nil {
		return nil, err
	}
	if len(f) == 0 {
		return nil, nil
	}
	for _, v := range f["until"] {
		if _, err := cli.ParseTime(v, now); err != nil {
			return nil, err
		}
	}
	return func(im img.Image) bool { return !(imageFilters{Filters: f}).match(im, nil, now) }, nil
}

func (o pruneOptions) run(ctx context.Context, env *cli.Env, keep func(img.Image) bool) error {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return err
	}
	if !o.Force && !o.DryRun {
		what := "This removes every image without a name."
		if o.All {
			what = "This removes every image that no container was made of."
		}
		if yes, err := env.Confirm(what, "--force"); err != nil || !yes {
			return err
		}
	}
	pruned, err := e.Images.Prune(ctx, img.PruneOptions{All: o.All, Keep: keep, DryRun: o.DryRun})
	for _, im := range pruned.Images {
		if _, werr := fmt.Fprintln(env.Out, im.ID); werr != nil {
			return errors.Join(err, werr)
		}
	}
	if len(pruned.Images) > 0 && env.ErrIsTerminal() {
		verb := "Reclaimed"
		if o.DryRun {
			verb = "This would reclaim"
		}
		fmt.Fprintf(env.Err, "%s %s\n", verb, cli.Size(pruned.Reclaimed))
	}
	return err
}
