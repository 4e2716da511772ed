package imgcmd

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// historyRow is a step of an image's making.
type historyRow struct {
	ID           string
	Created      string
	CreatedSince string
	CreatedAt    string
	CreatedBy    string
	Size         string
	Comment      string
	Tags         []string
}

// historyJSON is a step as --format json prints it.
type historyJSON struct {
	ID        string   `json:"id"`
	Created   string   `json:"created"`
	CreatedBy string   `json:"createdBy"`
	Size      int64    `json:"size"`
	Comment   string   `json:"comment"`
	Tags      []string `json:"tags"`
}

// historyOptions are the flags of history.
type historyOptions struct {
	Format  string
	NoTrunc bool
	Quiet   bool
	Human   bool
}

func newHistory(env *cli.Env) *cobra.Command {
	var o historyOptions
	cmd := &cobra.Command{
		Use:     "history IMAGE",
		Short:   "Show how an image was made",
		Long:    "Show the steps in which an image was made, the last one first, with the size that each\nadded.",
		Example: "  davit image history docker.io/library/alpine\n  davit image history --no-trunc --format '{{.CreatedBy}}' docker.io/library/alpine",
		Args:    cli.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.output().Check(); err != nil {
				return err
			}
			e, err := env.Engine(cmd.Context(), cli.Images)
			if err != nil {
				return err
			}
			steps, err := e.Images.History(cmd.Context(), args[0])
			if err != nil {
				return absent(cmd.Context(), e.Images, args[0], err)
			}
			return o.print(env, steps)
		},
		ValidArgsFunction: cli.First(1, imageNames(env)),
	}
	fs := cmd.Flags()
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, table …, or a Go template")
	fs.BoolVar(&o.NoTrunc, "no-trunc", false, "show whole IDs and commands")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "print IDs only")
	fs.BoolVarP(&o.Human, "human", "H", true, "sizes and times for people")
	return cmd
}

func (o historyOptions) output() cli.Output[historyRow] {
	return cli.Output[historyRow]{
		Table:  "{{.ID}}\t{{.Created}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
		Format: o.Format,
	}
}

func (o historyOptions) print(env *cli.Env, steps []img.HistoryEntry) error {
	if o.Format == "json" {
		list := make([]historyJSON, 0, len(steps))
		for _, s := range steps {
			list = append(list, historyJSON{
				ID: s.ID, Created: cli.Time(s.Created), CreatedBy: s.CreatedBy, Size: s.Size, Comment: s.Comment, Tags: orEmpty(s.Tags),
			})
		}
		return cli.WriteJSON(env.Out, list)
	}
	rows := o.rows(steps, env.Now())
	if !o.Quiet {
		return o.output().Print(env.Out, rows)
	}
	for _, r := range rows {
		if _, err := fmt.Fprintln(env.Out, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// missing stands for the ID of a step that is no image of its own.
const missing = "<missing>"

func (o historyOptions) rows(steps []img.HistoryEntry, now time.Time) []historyRow {
	rows := make([]historyRow, 0, len(steps))
	for _, s := range steps {
		r := historyRow{
			ID: cmp.Or(cli.ShortID(s.ID, o.NoTrunc), missing), CreatedBy: strings.Join(strings.Fields(s.CreatedBy), " "),
			CreatedSince: cli.Ago(s.Created, now), CreatedAt: cli.Time(s.Created),
			Size: cli.Size(s.Size), Comment: s.Comment, Tags: s.Tags,
		}
		r.Created = r.CreatedSince
		if !o.Human {
			r.Size, r.Created = fmt.Sprint(s.Size), r.CreatedAt
		}
		if text := []rune(r.CreatedBy); !o.NoTrunc && len(text) > 45 {
			r.CreatedBy = string(text[:42]) + "..."
		}
		rows = append(rows, r)
	}
	return rows
}
