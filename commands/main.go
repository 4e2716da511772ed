package commands

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
)

// version is set by the linker.
var version = "unknown"

// Main runs one command line, without the program's name, and returns the exit
// code. The first SIGINT or SIGTERM cancels the command's context, the second
// one ends the process.
func Main(ctx context.Context, args []string, streams cli.Streams, environ []string) int {
	if cli.Reexec() {
		return 0
	}
	env := cli.NewEnv(streams, environ)
	cli.Brief(env)
	env.Version = version
	ctx, stop := signalContext(ctx)
	defer stop()
	env.OnTakeSignals(stop)
	return Run(ctx, env, args)
}

// Run is Main in an Env and with a context of the caller's.
func Run(ctx context.Context, env *cli.Env, args []string) int {
	root := newRootFor(env, args)
	ctx = cli.WithTrace(ctx, env)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	err = errors.Join(err, helpless(cmd), env.Close())
	if err == nil {
		return 0
	}
	err = withUsage(cmd, cli.Cause(ctx, err))
	cli.Report(env.Err, err, env.Verbose())
	return cli.Code(err)
}

// helpless is the error of a command that was asked for the help of a subcommand which
// it does not have.
func helpless(cmd *cobra.Command) error {
	help := cmd.Flags().Lookup("help")
	if help == nil || !help.Changed || !cmd.HasSubCommands() || cmd.Flags().NArg() == 0 {
		return nil
	}
	return cli.UnknownCommand(cmd, cmd.Flags().Arg(0))
}

// signalContext ends with the first SIGINT or SIGTERM as its cause. stop leaves
// both signals to whoever else wants them, and does not end the context.
func signalContext(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(&cli.SignalError{Signal: s.(syscall.Signal)})
		case <-done:
		}
	}()
	stopped := false
	return ctx, func() {
		if !stopped {
			stopped = true
			signal.Stop(signals)
			close(done)
		}
	}
}

// withUsage puts the hint to read a command's help on a usage error without a
// hint of its own.
func withUsage(cmd *cobra.Command, err error) error {
	var usage *cli.UsageError
	if errors.As(err, &usage) && usage.Hint == "" && cmd != nil {
		usage.Hint = "see " + cmd.CommandPath() + " --help"
	}
	return err
}

// flagError puts the library's words for a bad flag into davit's, and names the
// flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return cli.Usagef("%s", strings.TrimPrefix(err.Error(), "invalid argument "))
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return cli.Usagef("unknown flag -%s", name)
	}
	out := cli.Usagef("unknown flag --%s", name)
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near := cli.Nearest(name, names); near != "" {
		out.Hint = "did you mean --" + near + "?"
	}
	return out
}
