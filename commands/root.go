package commands

import (
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
)

// NewRoot makes the whole command tree for one invocation.
func NewRoot(env *cli.Env) *cobra.Command {
	root := cli.Parent(&cobra.Command{
		Use:   "davit",
		Short: "Run pods and containers",
		Long:  "davit runs pods and containers on this machine, without a daemon.",
		Example: "  davit run --rm -it docker.io/library/alpine sh\n" +
			"  davit pod create --name web -p 8080:80",
		Version:           env.Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	})
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetVersionTemplate("davit version {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		if helpless(cmd) == nil {
			_ = WriteHelp(env.Out, cmd, env.Columns(env.Out))
		}
	})
	for _, g := range groups() {
		root.AddGroup(&g)
	}
	globalFlags(root.PersistentFlags(), env)
	profileFlags(root.PersistentFlags(), env)
	root.Flags().BoolP("version", "v", false, "print davit's version")
	for _, cmd := range verbs(env) {
		root.AddCommand(cmd)
	}
	root.AddCommand(newMan(env))
	root.SetHelpCommand(newHelp(env))
	root.SetHelpCommandGroupID(cli.GroupSystem)
	return root
}

// newRootFor is NewRoot with no more commands than a command line is about: all of
// them only for those that list commands, whole only for man's --dir.
func newRootFor(env *cli.Env, args []string) *cobra.Command {
	if slices.Contains(args, "man") {
		return NewRoot(env)
	}
	env.Args, env.Sparse = args, true
	root := NewRoot(env)
	if cmd, _, err := root.Find(args); err == nil && cmd != root && cmd.Name() != "help" || slices.Equal(args, []string{"--version"}) {
		return root
	}
	env.Sparse = false
	return NewRoot(env)
}

// groups are the headings of the root command's help.
func groups() []cobra.Group {
	return []cobra.Group{
		{ID: cli.GroupRun, Title: "Run"},
		{ID: cli.GroupPods, Title: "Pods"},
		{ID: cli.GroupImages, Title: "Images"},
		{ID: cli.GroupNetwork, Title: "Networks & volumes"},
		{ID: cli.GroupKube, Title: "Kubernetes"},
		{ID: cli.GroupSystem, Title: "System"},
	}
}

// globalFlags are the flags of every command. All but --config set a key of the
// configuration.
func globalFlags(fs *pflag.FlagSet, env *cli.Env) {
	fs.StringVar(&env.Flags.File, "config", "", "`FILE` to read instead of "+cli.DefaultConfigFile)
	for _, f := range []struct{ name, key, usage string }{
		{"root", "root", "`FOLDER` of davit's durable state"},
		{"runroot", "runroot", "`FOLDER` of davit's state until the next boot"},
		{"storage-root", "storage.root", "`FOLDER` of the layer store alone"},
		{"storage-driver", "storage.driver", "storage `DRIVER`: overlay, btrfs, zfs or vfs"},
		{"runtime", "engine.runtime", "OCI `RUNTIME`: a name or a path"},
		{"conmon", "engine.conmon", "`PATH` of the monitor"},
		{"cgroup-manager", "engine.cgroup_manager", "`MANAGER` of cgroups: cgroupfs, systemd or disabled"},
		{"log-level", "log_level", "`LEVEL` of messages: debug, info, warn or error"},
	} {
		fs.Var(&keyFlag{env: env, name: f.name, key: f.key}, f.name, f.usage)
	}
	fs.Var(&keyFlag{env: env, name: "storage-opt", key: "storage.options", list: true}, "storage-opt",
		"`OPTION` of the storage driver (may be repeated)")
}

// keyFlag is a flag that sets a key of the configuration.
type keyFlag struct {
	env       *cli.Env
	name, key string
	list      bool
	value     string
}

var _ pflag.Value = (*keyFlag)(nil)

// Set implements pflag.Value.
func (f *keyFlag) Set(value string) error {
	f.value = value
	if f.list {
		f.env.Flags.Append(f.key, f.name, value)
	} else {
		f.env.Flags.Set(f.key, f.name, value)
	}
	return nil
}

// String implements pflag.Value.
func (f *keyFlag) String() string { return f.value }

// Type implements pflag.Value.
func (f *keyFlag) Type() string { return "string" }

// named finds the command that arguments are the name of, and runs nothing.
func named(root *cobra.Command, args []string) (*cobra.Command, error) {
	cmd, rest, err := root.Find(args)
	if err == nil && len(rest) > 0 {
		err = cli.UnknownCommand(cmd, rest[0])
	}
	return cmd, err
}

// newHelp is `davit help COMMAND`.
func newHelp(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Long:    "Show the help of a command: the same as COMMAND --help.",
		Example: "  davit help run\n  davit help pod create",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			target, err := named(cmd.Root(), args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			for _, sub := range target.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := named(cmd.Root(), args)
			if err != nil {
				return err
			}
			return WriteHelp(env.Out, target, env.Columns(env.Out))
		},
	}
}
