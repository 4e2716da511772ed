package syscmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newConfig(env *cli.Env) *cobra.Command {
	return cli.Parent(&cobra.Command{
		Use:   "config",
		Short: "Show and check davit's configuration",
		Long: "Show and check davit's configuration: " + cli.DefaultConfigFile + " (or the file that --config\n" +
			"or DAVIT_CONFIG names), the *.toml of the folder of the same name with .d, the\n" +
			"environment, flags. Later ones win.",
		Example: "  davit config show --origin\n  davit config default > davit.toml",
	}, newConfigShow(env), newConfigDefault(env), newConfigValidate(env))
}

// showOptions are the flags of config show.
type showOptions struct {
	Format string
	Origin bool
	Keys   []string
}

func newConfigShow(env *cli.Env) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:     "show [KEY...]",
		Short:   "Show the configuration that is in force",
		Long:    "Show each key, its value and, with --origin, where the value comes from.",
		Example: "  davit config show --origin\n  davit config show network.default\n  davit config show --format json",
		Args:    cli.Args(0, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Keys = args
			return o.run(env)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var keys []cobra.Completion
			for _, s := range cli.DefaultConfig().Settings() {
				keys = append(keys, s.Key)
			}
			return keys, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVarP(&o.Format, "format", "f", "", "`FORMAT`: json, table …, or a Go template")
	cmd.Flags().BoolVar(&o.Origin, "origin", false, "show where each value comes from")
	return cmd
}

// settingRow is a key as config show prints it.
type settingRow struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// Text is the value as a table shows it.
func (r settingRow) Text() string {
	if list, ok := r.Value.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(r.Value)
}

func (o showOptions) run(env *cli.Env) error {
	c, err := env.Config()
	if err != nil {
		return err
	}
	rows, err := o.rows(c)
	if err != nil {
		return err
	}
	return o.print(env.Out, rows)
}

// rows are the settings that were asked for: all, or those of keys and tables.
func (o showOptions) rows(c *cli.Config) ([]settingRow, error) {
	all := c.Settings()
	if len(o.Keys) == 0 {
		return settingRows(all), nil
	}
	var chosen []cli.Setting
	for _, key := range o.Keys {
		found := false
		for _, s := range all {
			if s.Key == key || strings.HasPrefix(s.Key, key+".") {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, unknownKey(key, all)
		}
	}
	return settingRows(chosen), nil
}

func unknownKey(key string, all []cli.Setting) error {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Key
	}
	err := cli.Usagef("unknown key %q", key)
	if near := cli.Nearest(key, names); near != "" {
		err.Hint = "did you mean " + near + "?"
	}
	return err
}

func settingRows(settings []cli.Setting) []settingRow {
	rows := make([]settingRow, 0, len(settings))
	for _, s := range settings {
		rows = append(rows, settingRow(s))
	}
	return rows
}

func (o showOptions) print(w io.Writer, rows []settingRow) error {
	out := cli.Output[settingRow]{
		Table: "{{.Key}}\t{{.Text}}", Format: o.Format, Headings: map[string]string{"Text": "VALUE"},
	}
	if o.Origin {
		out.Table += "\t{{.Origin}}"
	}
	return out.Print(w, rows)
}

func newConfigDefault(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "default",
		Short:   "Print a commented file with the defaults",
		Long:    "Print a file with every key, what it means and its default, to be changed and kept\nas " + cli.DefaultConfigFile + ".",
		Example: "  davit config default\n  davit config default > davit.toml",
		Args:    cli.Args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(env.Out, cli.DefaultTOML())
			return err
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func newConfigValidate(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration file",
		Long: "Check a configuration file, or without one everything that is in force. Nothing is\n" +
			"printed when all is well; an error names the file, the line and the key.",
		Example: "  davit config validate\n  davit config validate davit.toml",
		Args:    cli.Args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return cli.CheckFile(args[0])
			}
			_, err := env.Config()
			return err
		},
	}
}
