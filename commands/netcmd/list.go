package netcmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/netw"
)

// listOptions are the flags of network ls.
type listOptions struct {
	Quiet     bool
	NoTrunc   bool
	NoHeading bool
	Format    string
	Filter    []string
}

// networkRow is a network as a line of the list.
type networkRow struct {
	ID      string
	Name    string
	Driver  string
	Origin  string
	Subnets string
	Labels  string
	Created string
}

func newList(env *cli.Env) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List networks",
		Long:    "List the networks: the built-in one, those made here, then the host's.\n\nFilters: " + strings.Join(filterKeys(), ", ") + ".",
		Example: "  davit network ls\n  davit network ls --filter driver=bridge --format '{{.Name}} {{.Subnets}}'",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.parse()
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, f)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "print names only")
	fs.BoolVar(&o.NoTrunc, "no-trunc", false, "show whole IDs")
	fs.BoolVarP(&o.NoHeading, "noheading", "n", false, "leave the headings out")
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, table …, or a Go template")
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "show only networks with `KEY=VALUE` (may be repeated)")
	return cmd
}

func filterKeys() []string { return []string{"driver", "id", "label", "label!", "name", "origin"} }

func (o listOptions) parse() (cli.Filters, error) {
	f, err := cli.ParseFilters(o.Filter, filterKeys()...)
	if err != nil {
		return nil, err
	}
	if o.Quiet && o.Format != "" {
		return nil, cli.Usagef("--quiet and --format exclude each other")
	}
	return f, o.output().Check()
}

func (o listOptions) output() cli.Output[networkRow] {
	return cli.Output[networkRow]{
		Table: "{{.ID}}\t{{.Name}}\t{{.Driver}}", Headings: map[string]string{"ID": "NETWORK ID"},
		Format: o.Format, NoHeading: o.NoHeading,
	}
}

func (o listOptions) run(ctx context.Context, env *cli.Env, f cli.Filters) error {
	e, err := env.Engine(ctx, cli.Networks)
	if err != nil {
		return err
	}
	all, err := e.Networks.Networks(ctx)
	if err != nil {
		if len(all) == 0 {
			return err
		}
		env.Log().Warn("some networks cannot be read", "cause", cli.OneLine(err.Error()))
	}
	all = slices.DeleteFunc(all, func(n netw.Network) bool { return !match(f, n) })
	switch {
	case o.Format == "json":
		return cli.WriteJSON(env.Out, inspections(all))
	case o.Quiet:
		for _, n := range all {
			if _, err := fmt.Fprintln(env.Out, n.Name); err != nil {
				return err
			}
		}
		return nil
	}
	return o.output().Print(env.Out, o.rows(all))
}

func match(f cli.Filters, n netw.Network) bool {
	return f.Any("name", func(v string) bool { return cli.Matcher(v)(n.Name) }) &&
		f.Any("driver", func(v string) bool { return v == n.Driver }) &&
		f.Any("origin", func(v string) bool { return v == string(n.Origin) }) &&
		f.Any("id", func(v string) bool { return strings.HasPrefix(networkID(n.Name), v) }) &&
		f.Labels(n.Labels)
}

func (o listOptions) rows(all []netw.Network) []networkRow {
	rows := make([]networkRow, 0, len(all))
	for _, n := range all {
		var subnets, labels []string
		for _, s := range n.Subnets {
			subnets = append(subnets, s.Subnet.String())
		}
		for k, v := range n.Labels {
			labels = append(labels, k+"="+v)
		}
		slices.Sort(labels)
		rows = append(rows, networkRow{
			ID: cli.ShortID(networkID(n.Name), o.NoTrunc), Name: n.Name, Driver: n.Driver, Origin: string(n.Origin),
			Subnets: strings.Join(subnets, ","), Labels: strings.Join(labels, ","), Created: cli.Time(n.Created),
		})
	}
	return rows
}
