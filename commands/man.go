package commands

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// newMan is `davit man`.
func newMan(env *cli.Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man [COMMAND...]",
		Short: "Print a man page",
		Long:  "Print the man page of a command, in the form that man(1) reads.",
		Example: "  davit man run | man -l -\n" +
			"  davit man pod create > davit-pod-create.1",
		GroupID: cli.GroupSystem,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir != "" {
				return WriteManPages(dir, cmd.Root())
			}
			target, err := named(cmd.Root(), args)
			if err != nil {
				return err
			}
			return WriteMan(env.Out, target)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write the pages of all commands into `FOLDER`")
	return cmd
}

// WriteManPages writes the page of every visible command below root into dir,
// and that of the configuration file.
func WriteManPages(dir string, root *cobra.Command) error {
	pages := map[string]string{"davit.toml.5": configPage()}
	var visit func(cmd *cobra.Command) error
	visit = func(cmd *cobra.Command) error {
		var b strings.Builder
		if err := WriteMan(&b, cmd); err != nil {
			return err
		}
		pages[manName(cmd)+".1"] = b.String()
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				if err := visit(sub); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := visit(root); err != nil {
		return err
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(page), 0o644); err != nil {
			return fmt.Errorf("writing man page: %w", err)
		}
	}
	return nil
}

func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// WriteMan prints the man page of a command, from the text that is its help.
func WriteMan(w io.Writer, cmd *cobra.Command) error {
	var b strings.Builder
	name := manName(cmd)
	fmt.Fprintf(&b, ".TH %s 1 \"\" davit\n.SH NAME\n%s \\- %s\n", roff(strings.ToUpper(name)), roff(name), roff(lowerFirst(cmd.Short)))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(useLine(cmd)))
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	b.WriteString(".SH DESCRIPTION\n")
	manText(&b, text)
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, ".PP\nAlso: %s.\n", roff(strings.Join(cmd.Aliases, ", ")))
	}
	manCommands(&b, cmd)
	for _, s := range cli.FlagSections(cmd) {
		fmt.Fprintf(&b, ".SH %s\n", roff(strings.ToUpper(s.Title)))
		for _, f := range s.Flags {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(flagWords(f))), roff(flagUsage(f)))
		}
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(strings.TrimRight(cmd.Example, "\n ")))
	}
	b.WriteString(".SH SEE ALSO\n")
	var see []string
	if cmd.HasParent() {
		see = append(see, fmt.Sprintf(".BR %s (1)", roff(manName(cmd.Parent()))))
	}
	see = append(see, ".BR davit.toml (5)")
	b.WriteString(strings.Join(see, " ,\n") + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func manCommands(b *strings.Builder, cmd *cobra.Command) {
	subs := slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
	if len(subs) == 0 {
		return
	}
	b.WriteString(".SH COMMANDS\n")
	for _, sub := range subs {
		fmt.Fprintf(b, ".TP\n.BR %s (1)\n%s\n", roff(manName(sub)), roff(sub.Short+"."))
	}
}

func manText(b *strings.Builder, text string) {
	for i, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if strings.HasPrefix(part, "  ") { // laid out as it is
			b.WriteString(".nf\n" + roff(part) + "\n.fi\n")
			continue
		}
		b.WriteString(roff(part) + "\n")
	}
}

// configPage is davit.toml(5): the defaults with what they mean.
func configPage() string {
	return ".TH DAVIT.TOML 5 \"\" davit\n.SH NAME\ndavit.toml \\- davit's configuration\n" +
		".SH DESCRIPTION\n" +
		roff(cli.DefaultConfigFile+", or the file that --config or the variable DAVIT_CONFIG names, and the *.toml of the\n"+
			"folder of the same name with .d, in the order of their names. A key is also set by the variable\n"+
			"DAVIT_ and its name in capitals, with _ for each dot. Flags win over variables, variables over files.\n"+
			"What is in force, and from where, is shown by davit config show --origin.") +
		"\n.SH KEYS AND DEFAULTS\n.nf\n" + roff(strings.TrimRight(cli.DefaultTOML(), "\n")) + "\n.fi\n" +
		".SH SEE ALSO\n.BR davit (1) ,\n.BR davit-config (1)\n"
}

// roff protects what roff would read as its own: backslashes, hyphens, and dots
// and quotes that begin a line.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
