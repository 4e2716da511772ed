package ctrcmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
)

// listOptions are the flags of ps.
type listOptions struct {
	All       bool
	Quiet     bool
	NoTrunc   bool
	NoHeading bool
	Pod       bool
	Last      int
	Latest    bool
	Format    string
	Sort      string
	Filter    []string
}

func newList(env *cli.Env, use string, aliases ...string) *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use:     use,
		Aliases: aliases,
		Short:   "List containers",
		Long: "List the containers that run; with --all, or a filter by state, also the others. Those that the\n" +
			"kubelet owns are marked.\n\nFilters: " + strings.Join(show.FilterKeys(), ", ") + ".",
		Example: "  davit ps --all\n" +
			"  davit ps --filter label=app=shop --format '{{.Names}} {{.Status}}'\n" +
			"  davit ps --all --filter exited=137 --format json",
		Args: cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "show all containers, not only those that run")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "print IDs only")
	fs.BoolVar(&o.NoTrunc, "no-trunc", false, "show whole IDs and commands")
	fs.BoolVar(&o.NoHeading, "noheading", false, "leave the headings out")
	fs.BoolVarP(&o.Pod, "pod", "p", false, "show the pods that they are in")
	fs.IntVarP(&o.Last, "last", "n", -1, "show the last `N` that were made, in any state")
	fs.BoolVarP(&o.Latest, "latest", "l", false, "show the one that was made last, in any state")
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, table …, or a Go template")
	fs.StringVar(&o.Sort, "sort", "created", "sort by `FIELD`: "+strings.Join(sortKeys(), ", "))
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "show only containers with `KEY=VALUE` (may be repeated)")
	_ = cmd.RegisterFlagCompletionFunc("sort", cli.Words(sortKeys()...))
	_ = cmd.RegisterFlagCompletionFunc("format", cli.Words("json", "table"))
	return cmd
}

func sortKeys() []string {
	return []string{"command", "created", "id", "image", "names", "runningfor", "status"}
}

// output is how the rows are printed.
func (o *listOptions) output() cli.Output[show.Row] {
	table := show.Table
	if o.Pod {
		table += "\t{{.Pod}}\t{{.PodName}}"
	}
	return cli.Output[show.Row]{Table: table, Headings: show.Headings(), Format: o.Format, NoHeading: o.NoHeading}
}

func (o *listOptions) check() error {
	if !slices.Contains(sortKeys(), o.Sort) {
		return cli.Usagef("--sort %q is none of %s", o.Sort, strings.Join(sortKeys(), ", "))
	}
	if o.Quiet && o.Format != "" {
		return cli.Usagef("--quiet and --format exclude each other")
	}
	if _, err := cli.ParseFilters(o.Filter, show.FilterKeys()...); err != nil {
		return err
	}
	return o.output().Check()
}

func (o *listOptions) run(ctx context.Context, env *cli.Env) error {
	world, err := show.Read(ctx, env)
	if err != nil {
		return err
	}
	rows, err := o.rows(world)
	if err != nil {
		return err
	}
	if !o.Quiet {
		return o.output().Print(env.Out, rows)
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintln(&b, r.ID)
	}
	_, err = env.Out.Write([]byte(b.String()))
	return err
}

// rows are the containers to show, in their order.
func (o *listOptions) rows(world show.World) ([]show.Row, error) {
	filters, err := cli.ParseFilters(o.Filter, show.FilterKeys()...)
	if err != nil {
		return nil, err
	}
	filter, err := show.NewFilter(filters, world)
	if err != nil {
		return nil, err
	}
	_, byState := filters["status"]
	_, byCode := filters["exited"]
	last := o.Last
	if o.Latest {
		last = 1
	}
	all := o.All || byState || byCode || last >= 0
	var chosen []ctr.Container
	for _, c := range world.Containers {
		if (all || c.Status.Alive()) && filter.Match(c) && (o.All || !c.Config.Infra) {
			chosen = append(chosen, c)
		}
	}
	slices.SortStableFunc(chosen, func(a, b ctr.Container) int { return b.Created.Compare(a.Created) })
	if last >= 0 && last < len(chosen) {
		chosen = chosen[:last]
	}
	o.sort(chosen)
	var rows []show.Row
	for _, c := range chosen {
		rows = append(rows, world.Row(c, o.NoTrunc || o.Format == "json"))
	}
	return rows, nil
}

// sort orders containers by the field that was asked for; they come the newest
// first.
func (o *listOptions) sort(list []ctr.Container) {
	by := map[string]func(a, b ctr.Container) int{
		"command": func(a, b ctr.Container) int {
			return strings.Compare(strings.Join(a.Config.Process.Args, " "), strings.Join(b.Config.Process.Args, " "))
		},
		"id": func(a, b ctr.Container) int { return strings.Compare(a.ID, b.ID) },
		"image": func(a, b ctr.Container) int {
			return strings.Compare(show.ImageName(a.Config.Image), show.ImageName(b.Config.Image))
		},
		"names":      func(a, b ctr.Container) int { return strings.Compare(a.Config.Name, b.Config.Name) },
		"runningfor": func(a, b ctr.Container) int { return a.Status.StartedAt.Compare(b.Status.StartedAt) },
		"status":     func(a, b ctr.Container) int { return cmp.Compare(show.State(a.Status), show.State(b.Status)) },
	}[o.Sort]
	if by != nil {
		slices.SortStableFunc(list, by)
	}
}
