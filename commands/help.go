package commands

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
)

// WriteHelp prints the help of a command for a terminal of width columns: what it
// does, how it is called, examples, then its commands or flags in their groups.
func WriteHelp(w io.Writer, cmd *cobra.Command, width int) error {
	var b strings.Builder
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", reflow(strings.TrimSpace(text), width), useLine(cmd))
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAliases:\n  %s, %s\n", cmd.Name(), strings.Join(cmd.Aliases, ", "))
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.TrimRight(cmd.Example, "\n "))
	}
	writeCommands(&b, cmd)
	for _, s := range cli.FlagSections(cmd) {
		if cmd.HasParent() {
			writeFlags(&b, s, width)
		} else {
			writeFlags(&b, cli.FlagSection{Title: "Global options", Flags: s.Flags}, width)
		}
	}
	if cmd.HasParent() {
		fmt.Fprintf(&b, "\nGlobal options: see %s --help.\n", cmd.Root().Name())
	} else {
		fmt.Fprintf(&b, "\nHelp of a command: %s COMMAND --help, or man davit-COMMAND.\n", cmd.Name())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func useLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	return cmd.UseLine()
}

// reflow breaks the paragraphs of a text at width, 100 columns at most. What is
// indented stays as it is.
func reflow(text string, width int) string {
	parts := strings.Split(text, "\n\n")
	for i, part := range parts {
		if !strings.HasPrefix(part, " ") {
			parts[i] = strings.Join(fold(part, min(max(width, 40), 100)), "\n")
		}
	}
	return strings.Join(parts, "\n\n")
}

// writeCommands lists the subcommands, by group where there are groups.
func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	subs := slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
	if len(subs) == 0 {
		return
	}
	width := 0
	for _, c := range subs {
		width = max(width, len(c.Name()))
	}
	list := func(title string, keep func(*cobra.Command) bool) {
		part := slices.DeleteFunc(slices.Clone(subs), func(c *cobra.Command) bool { return !keep(c) })
		if len(part) == 0 {
			return
		}
		fmt.Fprintf(b, "\n%s:\n", title)
		for _, c := range part {
			fmt.Fprintf(b, "  %-*s  %s\n", width, c.Name(), c.Short)
		}
	}
	for _, g := range cmd.Groups() {
		list(g.Title, func(c *cobra.Command) bool { return c.GroupID == g.ID })
	}
	list("Commands", func(c *cobra.Command) bool { return c.GroupID == "" })
}

// writeFlags lists flags with their text in a column of its own.
func writeFlags(b *strings.Builder, s cli.FlagSection, width int) {
	left, column := make([]string, len(s.Flags)), 0
	for i, f := range s.Flags {
		left[i] = flagWords(f)
		if len(left[i]) <= 28 {
			column = max(column, len(left[i]))
		}
	}
	fmt.Fprintf(b, "\n%s:\n", s.Title)
	indent := 2 + column + 2
	for i, f := range s.Flags {
		lines := fold(flagUsage(f), max(width-indent, 30))
		if len(left[i]) > column {
			fmt.Fprintf(b, "  %s\n%*s%s\n", left[i], indent, "", lines[0])
		} else {
			fmt.Fprintf(b, "  %-*s  %s\n", column, left[i], lines[0])
		}
		for _, line := range lines[1:] {
			fmt.Fprintf(b, "%*s%s\n", indent, "", line)
		}
	}
}

// flagWords is a flag as it is typed: "-o, --output FILE".
func flagWords(f *pflag.Flag) string {
	words := "    --" + f.Name
	if f.Shorthand != "" {
		words = "-" + f.Shorthand + ", --" + f.Name
	}
	if value, _ := pflag.UnquoteUsage(f); value != "" {
		words += " " + value
	}
	return words
}

// flagUsage is what a flag does, with its default.
func flagUsage(f *pflag.Flag) string {
	_, usage := pflag.UnquoteUsage(f)
	switch f.DefValue {
	case "", "false", "0", "[]", "<nil>", "0s":
		return usage
	}
	return fmt.Sprintf("%s (default %s)", usage, f.DefValue)
}

// fold breaks a text into lines of at most width columns.
func fold(s string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(s) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
