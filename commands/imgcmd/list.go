package imgcmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// listOptions are the flags of images.
type listOptions struct {
	All       bool
	Quiet     bool
	Digests   bool
	NoTrunc   bool
	NoHeading bool
	Format    string
	Sort      string
	Filter    []string
	Name      string
}

func newList(env *cli.Env, use string, aliases ...string) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     use,
		Aliases: aliases,
		Short:   "List images",
		Long: "List the images of this machine, the newest first; with a NAME those whose repository\n" +
			"or name matches it (* and ? stand for any letters).\n\n" +
			"Filters: " + strings.Join(filterKeys(), ", ") + ".",
		Example: "  davit images\n" +
			"  davit images --filter dangling=true -q\n" +
			"  davit images --format '{{.Repository}}:{{.Tag}} {{.Size}}'",
		Args: cli.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Name = args[0]
			}
			f, err := o.parse()
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, f)
		},
		ValidArgsFunction: cli.First(1, imageNames(env)),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "show intermediate images too")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "print IDs only")
	fs.BoolVar(&o.Digests, "digests", false, "show digests")
	fs.BoolVar(&o.NoTrunc, "no-trunc", false, "show whole IDs")
	fs.BoolVarP(&o.NoHeading, "noheading", "n", false, "leave the headings out")
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, table …, or a Go template")
	fs.StringVar(&o.Sort, "sort", "created", "sort by `FIELD`: created, id, repository, size or tag")
	fs.StringArrayVarP(&o.Filter, "filter", "f", nil, "show only images with `KEY=VALUE` (may be repeated)")
	_ = cmd.RegisterFlagCompletionFunc("sort", cli.Words(sortKeys()...))
	_ = cmd.RegisterFlagCompletionFunc("format", cli.Words("json", "table"))
	return cmd
}

func sortKeys() []string { return []string{"created", "id", "repository", "size", "tag"} }

// parse checks the flags, and reads the filters.
func (o listOptions) parse() (imageFilters, error) {
	f, err := parseFilters(o.Filter)
	if err != nil {
		return f, err
	}
	if !slices.Contains(sortKeys(), o.Sort) {
		return f, cli.Usagef("--sort %q is none of %s", o.Sort, strings.Join(sortKeys(), ", "))
	}
	if o.Quiet && o.Format != "" {
		return f, cli.Usagef("--quiet and --format exclude each other")
	}
	f.name = o.Name
	return f, o.output().Check()
}

func (o listOptions) output() cli.Output[imageRow] {
	out := cli.Output[imageRow]{
		Table:     "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Created}}\t{{.Size}}",
		Headings:  map[string]string{"ID": "IMAGE ID", "CreatedSince": "CREATED"},
		Format:    o.Format,
		NoHeading: o.NoHeading,
	}
	if o.Digests {
		out.Table = strings.Replace(out.Table, "{{.ID}}", "{{.Digest}}\t{{.ID}}", 1)
	}
	return out
}

func (o listOptions) run(ctx context.Context, env *cli.Env, f imageFilters) error {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return err
	}
	images, err := e.Images.List(ctx, img.ListOptions{All: o.All})
	if err != nil {
		if len(images) == 0 {
			return err
		}
		env.Log().Warn("some images are damaged", "cause", cli.OneLine(err.Error()))
	}
	images, err = f.apply(ctx, e.Images, images, env.Now())
	if err != nil {
		return err
	}
	return o.print(env, images)
}

func (o listOptions) print(env *cli.Env, images []img.Image) error {
	if o.Format == "json" {
		list := make([]imageJSON, 0, len(images))
		for _, im := range images {
			list = append(list, jsonOf(im))
		}
		return cli.WriteJSON(env.Out, list)
	}
	rows := o.rows(images, env.Now())
	if !o.Quiet {
		return o.output().Print(env.Out, rows)
	}
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		if _, err := fmt.Fprintln(env.Out, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// imageRow is one name of an image, as a line of the list.
type imageRow struct {
	ID           string
	Repository   string
	Tag          string
	Digest       string
	Created      string
	CreatedSince string
	CreatedAt    string
	Size         string
	Labels       map[string]string
	Names        []string
	Architecture string
	Os           string
	Dangling     bool
	ReadOnly     bool

	bytes   int64
	created time.Time
}

// rows has a row for each name, sorted.
func (o listOptions) rows(images []img.Image, now time.Time) []imageRow {
	var rows []imageRow
	for _, im := range images {
		names := im.Names
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			repository, tag := splitName(name)
			row := imageRow{
				ID: cli.ShortID(im.ID, o.NoTrunc), Repository: repository, Tag: tag, Digest: cmp.Or(im.Digest, none),
				Created: cli.Ago(im.Created, now), CreatedSince: cli.Ago(im.Created, now), CreatedAt: cli.Time(im.Created),
				Size: cli.Size(im.Size), Labels: im.Config.Labels, Names: im.Names,
				Architecture: im.Architecture, Os: im.OS, Dangling: im.Dangling(), ReadOnly: im.ReadOnly,
				bytes: im.Size, created: im.Created,
			}
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b imageRow) int {
		switch o.Sort {
		case "id":
			return strings.Compare(a.ID, b.ID)
		case "repository":
			return strings.Compare(a.Repository, b.Repository)
		case "size":
			return cmp.Compare(a.bytes, b.bytes)
		case "tag":
			return strings.Compare(a.Tag, b.Tag)
		}
		return b.created.Compare(a.created)
	})
	return rows
}

// none stands for a name or a tag that is not there.
const none = "<none>"

// splitName splits a full name into repository and tag.
func splitName(name string) (repository, tag string) {
	if name == "" {
		return none, none
	}
	if repository, _, ok := strings.Cut(name, "@"); ok {
		return repository, none
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, none
}

// imageJSON is an image as --format json prints it.
type imageJSON struct {
	ID           string            `json:"Id"`
	Names        []string          `json:"Names"`
	RepoTags     []string          `json:"RepoTags"`
	RepoDigests  []string          `json:"RepoDigests"`
	Digest       string            `json:"Digest"`
	Created      string            `json:"Created"`
	Size         int64             `json:"Size"`
	Labels       map[string]string `json:"Labels"`
	Architecture string            `json:"Architecture"`
	Os           string            `json:"Os"`
	Dangling     bool              `json:"Dangling"`
	ReadOnly     bool              `json:"ReadOnly"`
}

func jsonOf(im img.Image) imageJSON {
	return imageJSON{
		ID: im.ID, Names: orEmpty(im.Names), RepoTags: orEmpty(im.RepoTags()), RepoDigests: orEmpty(im.RepoDigests()),
		Digest: im.Digest, Created: cli.Time(im.Created), Size: im.Size, Labels: orEmptyMap(im.Config.Labels),
		Architecture: im.Architecture, Os: im.OS, Dangling: im.Dangling(), ReadOnly: im.ReadOnly,
	}
}

// orEmpty makes JSON print [] for a list that is not there.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
