package volcmd

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/volume"
)

// Row is one volume in a list, and what inspect prints of it.
type Row struct {
	Name       string
	Driver     string
	Mountpoint string
	CreatedAt  string
	Labels     Labels
	Anonymous  bool
	// Containers are those that mount it.
	Containers []string
}

// Labels are labels that templates print as key=value with commas between them.
type Labels map[string]string

// String joins the labels, sorted by key.
func (l Labels) String() string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		out = append(out, k+"="+l[k])
	}
	return strings.Join(out, ",")
}

const table = "{{.Driver}}\t{{.Name}}"

func headings() map[string]string { return map[string]string{"Name": "VOLUME NAME"} }

// row describes a volume.
func row(v volume.Volume, used []string) Row {
	r := Row{
		Name: v.Name, Driver: volume.Driver, Mountpoint: v.Path, CreatedAt: cli.Time(v.Created),
		Labels: v.Labels, Anonymous: v.Anonymous, Containers: used,
	}
	if r.Labels == nil {
		r.Labels = Labels{}
	}
	if r.Containers == nil {
		r.Containers = []string{}
	}
	return r
}

// listOptions are the flags of volume ls.
type listOptions struct {
	Quiet     bool
	NoHeading bool
	Format    string
	Filter    []string
}

func newList(env *cli.Env) *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use:     "ls [flags]",
		Aliases: []string{"list"},
		Short:   "List volumes",
		Long:    "List volumes by name.\n\nFilters: " + strings.Join(filterKeys(), ", ") + ".",
		Example: "  davit volume ls\n" +
			"  davit volume ls --filter dangling=true --quiet",
		Args: cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "print names only")
	fs.BoolVarP(&o.NoHeading, "noheading", "n", false, "leave the headings out")
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, table …, or a Go template")
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "show only volumes with `KEY=VALUE` (may be repeated)")
	_ = cmd.RegisterFlagCompletionFunc("format", cli.Words("json", "table"))
	return cmd
}

func filterKeys() []string {
	return []string{"anonymous", "dangling", "label", "label!", "name", "until"}
}

func (o *listOptions) output() cli.Output[Row] {
	return cli.Output[Row]{Table: table, Headings: headings(), Format: o.Format, NoHeading: o.NoHeading}
}

func (o *listOptions) check() error {
	if o.Quiet && o.Format != "" {
		return cli.Usagef("--quiet and --format exclude each other")
	}
	if _, err := cli.ParseFilters(o.Filter, filterKeys()...); err != nil {
		return err
	}
	return o.output().Check()
}

func (o *listOptions) run(ctx context.Context, env *cli.Env) error {
	rows, err := list(ctx, env, o.Filter)
	if err != nil {
		return err
	}
	if !o.Quiet {
		return o.output().Print(env.Out, rows)
	}
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(r.Name + "\n")
	}
	_, err = env.Out.Write([]byte(b.String()))
	return err
}

// list reads the volumes that fit filters.
func list(ctx context.Context, env *cli.Env, filter []string) ([]Row, error) {
	filters, err := cli.ParseFilters(filter, filterKeys()...)
	if err != nil {
		return nil, err
	}
	match, err := matcher(filters, env.Now())
	if err != nil {
		return nil, err
	}
	e, err := open(ctx, env)
	if err != nil {
		return nil, err
	}
	all, err := e.Volumes.List()
	if err != nil {
		env.Log().Warn("some volumes cannot be read", "error", err)
	}
	who := users(ctx, e)
	var rows []Row
	for _, v := range all {
		used, err := who(v.Name)
		if err != nil {
			return nil, err
		}
		if match(v, used) {
			rows = append(rows, row(v, used))
		}
	}
	return rows, nil
}

// matcher reads filters.
func matcher(f cli.Filters, now time.Time) (func(v volume.Volume, used []string) bool, error) {
	for _, key := range []string{"dangling", "anonymous"} {
		for _, s := range f[key] {
			if _, err := strconv.ParseBool(s); err != nil {
				return nil, cli.Usagef("--filter %s=%s: give true or false", key, s)
			}
		}
	}
	var until time.Time
	for _, s := range f["until"] {
		t, err := cli.ParseTime(s, now)
		if err != nil {
			return nil, err
		}
		until = t
	}
	is := func(want string, got bool) bool {
		b, _ := strconv.ParseBool(want) // checked above
		return b == got
	}
	return func(v volume.Volume, used []string) bool {
		return f.Any("name", func(s string) bool { return cli.Matcher(s)(v.Name) }) &&
			f.Any("dangling", func(s string) bool { return is(s, len(used) == 0) }) &&
			f.Any("anonymous", func(s string) bool { return is(s, v.Anonymous) }) &&
			f.Labels(v.Labels) && (until.IsZero() || v.Created.Before(until))
	}, nil
}
