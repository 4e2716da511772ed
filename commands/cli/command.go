package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups of davit's help, for InGroup.
const (
	GroupRun     = "run"
	GroupPods    = "pods"
	GroupImages  = "images"
	GroupNetwork = "network"
	GroupKube    = "kube"
	GroupSystem  = "system"
)

// Verb is a command that is made when it may be needed.
type Verb struct {
	Name string
	New  func(*Env) *cobra.Command
	// For is another command that has this one do its work.
	For string
}

// Make makes commands: all, or of a sparse Env those that are wanted.
func Make(env *Env, verbs ...Verb) []*cobra.Command {
	var cmds []*cobra.Command
	for _, v := range verbs {
		if !env.Sparse || env.Wants(v.Name) || v.For != "" && env.Wants(v.For) {
			cmds = append(cmds, v.New(env))
		}
	}
	return cmds
}

// InGroup puts commands into a group of the root command's help.
func InGroup(group string, cmds ...*cobra.Command) []*cobra.Command {
	for _, c := range cmds {
		c.GroupID = group
	}
	return cmds
}

// Parent makes a command out of a template (Use, Short, Long, Example, Aliases)
// that only has subcommands: without one it prints its help and fails, with an
// unknown one it says which was meant.
func Parent(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subs...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			if err := cmd.Help(); err != nil {
				return err
			}
			return Usagef("a command is missing: %s COMMAND", cmd.CommandPath())
		}
		return UnknownCommand(cmd, args[0])
	}
	return cmd
}

// UnknownCommand is the error of a name that no subcommand of a command has, with the
// one that was meant.
func UnknownCommand(cmd *cobra.Command, name string) error {
	err := Usagef("unknown command %q for %q", name, cmd.CommandPath())
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	if near := Nearest(name, names); near != "" {
		err.Hint = "did you mean '" + cmd.CommandPath() + " " + near + "'?"
	}
	return err
}

// Args says how many arguments a command takes; most below 0 is any number.
func Args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var err *UsageError
		switch {
		case len(args) < least && len(args) == 0:
			err = Usagef("an argument is missing")
		case len(args) < least:
			err = Usagef("needs %d arguments, got %d", least, len(args))
		case most == 0 && len(args) > 0:
			err = Usagef("takes no arguments, got %q", args[0])
		case most >= 0 && len(args) > most:
			err = Usagef("takes %d arguments at most, got %d", most, len(args))
		default:
			return nil
		}
		return err.Hintf("usage: %s", cmd.UseLine())
	}
}

// LongHelp gives a command --help alone, and leaves -h to a flag of its own.
func LongHelp(cmd *cobra.Command) {
	cmd.Flags().Bool("help", false, "help for "+cmd.Name())
	// As cobra does for its own, so that completion offers nothing else behind it.
	_ = cmd.Flags().SetAnnotation("help", cobra.FlagSetByCobraAnnotation, []string{"true"})
}

// NameOne is the hint of a command that is missing a name: it tells of those of its
// flags that stand for one.
func NameOne(fs *pflag.FlagSet) string {
	var has []string
	for _, name := range []string{"all", "latest"} {
		if fs.Lookup(name) != nil {
			has = append(has, "--"+name)
		}
	}
	if len(has) == 0 {
		return "name one"
	}
	return "name one, or use " + strings.Join(has, " or ")
}

// flagGroup is the annotation that keeps the group of a flag.
const flagGroup = "davit_group"

// FlagGroup adds the flags that add defines, under a title of their own in the
// help: FlagGroup(cmd.Flags(), "Network", opts.network.flags).
func FlagGroup(fs *pflag.FlagSet, title string, add func(fs *pflag.FlagSet)) {
	part := pflag.NewFlagSet(title, pflag.ContinueOnError)
	add(part)
	part.SortFlags = false
	part.VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[flagGroup] = []string{title}
	})
	fs.AddFlagSet(part)
}

// FlagSection is a group of flags with its title, as help and man pages show it.
type FlagSection struct {
	Title string
	Flags []*pflag.Flag
}

// FlagSections are the visible local flags of a command by group, in the order
// in which the groups were added; those without a group come first, under
// "Options".
func FlagSections(cmd *cobra.Command) []FlagSection {
	sections := []FlagSection{{Title: "Options"}}
	cmd.Flags().SortFlags, cmd.PersistentFlags().SortFlags = false, false
	local := cmd.LocalFlags()
	local.SortFlags = false
	local.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		title := "Options"
		if g := f.Annotations[flagGroup]; len(g) > 0 {
			title = g[0]
		}
		i := slices.IndexFunc(sections, func(s FlagSection) bool { return s.Title == title })
		if i < 0 {
			sections, i = append(sections, FlagSection{Title: title}), len(sections)
		}
		sections[i].Flags = append(sections[i].Flags, f)
	})
	return slices.DeleteFunc(sections, func(s FlagSection) bool { return len(s.Flags) == 0 })
}

// Names completes arguments with what list returns, less those typed already.
// An error completes nothing: a shell has no place to show it.
func Names(list func(ctx context.Context) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		names, err := list(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names = slices.DeleteFunc(names, func(n string) bool {
			return slices.Contains(args, n) || !strings.HasPrefix(n, toComplete)
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// First limits a completion to the first n arguments.
func First(n int, complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, toComplete)
	}
}

// Words completes a flag or an argument with fixed words.
func Words(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}
