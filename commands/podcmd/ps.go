package podcmd

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/pod"
)

// listOptions are the flags of pod ps.
type listOptions struct {
	All       bool
	Quiet     bool
	NoTrunc   bool
	NoHeading bool
	Latest    bool
	CtrNames  bool
	CtrStatus bool
	Format    string
	Sort      string
	Filter    []string
}

func newList(env *cli.Env, use string, aliases ...string) *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use:     use + " [flags]",
		Aliases: aliases,
		Short:   "List pods",
		Long: "List pods, the newest first; with --all also those that were made for one container alone. Those\n" +
			"that the kubelet owns are marked.\n\nFilters: " + strings.Join(show.PodFilterKeys(), ", ") + ".",
		Example: "  davit pod ps\n" +
			"  davit pod ps --filter status=running --format '{{.Name}} {{.NumberOfContainers}}'",
		Args: cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "show also pods that were made for one container")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "print IDs only")
	fs.BoolVar(&o.NoTrunc, "no-trunc", false, "show whole IDs")
	fs.BoolVar(&o.NoHeading, "noheading", false, "leave the headings out")
	fs.BoolVarP(&o.Latest, "latest", "l", false, "show the one that was made last")
	fs.BoolVar(&o.CtrNames, "ctr-names", false, "show the names of the containers")
	fs.BoolVar(&o.CtrStatus, "ctr-status", false, "show the states of the containers")
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, table …, or a Go template")
	fs.StringVar(&o.Sort, "sort", "created", "sort by `FIELD`: "+strings.Join(sortKeys(), ", "))
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "show only pods with `KEY=VALUE` (may be repeated)")
	_ = cmd.RegisterFlagCompletionFunc("sort", cli.Words(sortKeys()...))
	_ = cmd.RegisterFlagCompletionFunc("format", cli.Words("json", "table"))
	return cmd
}

func sortKeys() []string { return []string{"created", "id", "name", "number", "status"} }

func (o *listOptions) output() cli.Output[show.PodRow] {
	return cli.Output[show.PodRow]{
		Table: show.PodTable(o.CtrNames, o.CtrStatus), Headings: show.PodHeadings(), Format: o.Format, NoHeading: o.NoHeading,
	}
}

func (o *listOptions) check() error {
	if !slices.Contains(sortKeys(), o.Sort) {
		return cli.Usagef("--sort %q is none of %s", o.Sort, strings.Join(sortKeys(), ", "))
	}
	if o.Quiet && o.Format != "" {
		return cli.Usagef("--quiet and --format exclude each other")
	}
	if _, err := cli.ParseFilters(o.Filter, show.PodFilterKeys()...); err != nil {
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
		b.WriteString(r.ID + "\n")
	}
	_, err = env.Out.Write([]byte(b.String()))
	return err
}

// rows are the pods to show, in their order.
func (o *listOptions) rows(world show.World) ([]show.PodRow, error) {
	filters, err := cli.ParseFilters(o.Filter, show.PodFilterKeys()...)
	if err != nil {
		return nil, err
	}
	match, err := show.PodMatcher(filters, world)
	if err != nil {
		return nil, err
	}
	var chosen []pod.Sandbox
	for _, s := range world.Pods {
		if (o.All || !s.Config.Implicit) && match(s) {
			chosen = append(chosen, s)
		}
	}
	slices.SortStableFunc(chosen, func(a, b pod.Sandbox) int { return b.Created.Compare(a.Created) })
	if o.Latest && len(chosen) > 1 {
		chosen = chosen[:1]
	}
	var rows []show.PodRow
	for _, s := range chosen {
		rows = append(rows, world.PodRow(s, o.NoTrunc || o.Format == "json"))
	}
	if by := map[string]func(a, b show.PodRow) int{
		"id":     func(a, b show.PodRow) int { return strings.Compare(a.ID, b.ID) },
		"name":   func(a, b show.PodRow) int { return strings.Compare(a.Name, b.Name) },
		"number": func(a, b show.PodRow) int { return a.NumberOfContainers - b.NumberOfContainers },
		"status": func(a, b show.PodRow) int { return strings.Compare(a.Status, b.Status) },
	}[o.Sort]; by != nil {
		slices.SortStableFunc(rows, by)
	}
	return rows, nil
}
