package ctrcmd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// execOptions are the flags of exec.
type execOptions struct {
	Env, EnvFiles []string
	WorkDir       string
	User          string
	TTY           bool
	Interactive   bool
	Detach        bool
	Privileged    bool
	Latest        bool
}

func newExec(env *cli.Env) *cobra.Command {
	o := &execOptions{}
	cmd := &cobra.Command{
		Use:   "exec [flags] CONTAINER COMMAND [ARG...]",
		Short: "Run a command in a running container",
		Long: "Run a further command in a running container, with the environment, user and folder of\n" +
			"the container's own command where no flag says otherwise. Its exit code is davit's; 126 and\n" +
			"127 say that the command cannot be executed or does not exist.",
		Example: "  davit exec -it web sh\n" +
			"  davit exec -u nobody -w /tmp web id",
		ValidArgsFunction: cli.First(1, names(env, ctr.Running)),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := options.NewHost(env)
			if err != nil {
				return err
			}
			x, err := o.exec(host, &args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, x, args)
		},
	}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&o.TTY, "tty", "t", false, "give the command a terminal")
	fs.BoolVarP(&o.Interactive, "interactive", "i", false, "pass standard input on")
	fs.BoolVarP(&o.Detach, "detach", "d", false, "run it in the background, where it has neither a terminal nor standard input")
	fs.StringArrayVarP(&o.Env, "env", "e", nil, "environment variable, as `KEY=value`, or KEY for your own value, or KEY* for all of yours that begin so (may be repeated)")
	fs.StringArrayVar(&o.EnvFiles, "env-file", nil, "read variables from a `FILE`, one a line (may be repeated)")
	fs.StringVarP(&o.User, "user", "u", "", "`USER[:GROUP]` to run as, names or numbers")
	fs.StringVarP(&o.WorkDir, "workdir", "w", "", "working `FOLDER` in the container")
	fs.BoolVar(&o.Privileged, "privileged", false, "with all capabilities")
	fs.BoolVarP(&o.Latest, "latest", "l", false, "in the container that was made last")
	return cmd
}

// exec reads the flags; args become the container alone, if it was named.
func (o *execOptions) exec(h options.Host, args *[]string) (ctr.Exec, error) {
	x := ctr.Exec{
		WorkingDir: o.WorkDir, User: o.User, Terminal: o.TTY && !o.Detach, Privileged: o.Privileged, Detach: o.Detach,
	}
	named := 1
	if o.Latest {
		named = 0
	}
	if len(*args) < named+1 {
		return x, cli.Usagef("a container or a command is missing").Hintf("davit exec CONTAINER COMMAND [ARG...]")
	}
	x.Args, *args = (*args)[named:], (*args)[:named]
	if o.WorkDir != "" && !path.IsAbs(o.WorkDir) {
		return x, cli.Usagef("--workdir: %q is not an absolute path", o.WorkDir)
	}
	if o.User != "" {
		if _, err := spec.ParseUser(o.User); err != nil {
			return x, cli.Usagef("--user: %s", err)
		}
	}
	var err error
	x.Env, err = h.Env(o.Env, o.EnvFiles)
	return x, err
}

func (o *execOptions) run(ctx context.Context, env *cli.Env, x ctr.Exec, args []string) (err error) {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := which{Latest: o.Latest, Refs: args}.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	c, err := find(ctx, e, refs[0])
	if err != nil {
		return err
	}
	switch c.Status.State {
	case ctr.Running:
	case ctr.Paused:
		return notRunning(c, "davit unpause "+c.Config.Name+" lets it go on")
	default:
		return notRunning(c, "davit start "+c.Config.Name+" starts it")
	}
	if x.Detach {
		_, err := e.Containers.Exec(ctx, c.ID, x)
		return executableWords(cli.Cause(ctx, err))
	}
	s, err := openSession(env, sessionConfig{TTY: x.Terminal, Stdin: o.Interactive, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	x.Streams = s.streams
	if x.Terminal {
		x.Size = consoleSize(env)
	}
	signals := make(chan syscall.Signal, 32)
	x.Signals = signals
	env.TakeSignals()
	catcher := catch(proxied(), func(sig syscall.Signal) {
		select {
		case signals <- sig:
		default: // the process does not keep up
		}
	})
	defer catcher.stop()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	left := make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-work.Done():
		case <-s.broken:
			cancel()
		}
	}()
	code, err := e.Containers.Exec(work, c.ID, x)
	cancel()
	<-left
	if isClosed(s.broken) {
		return &cli.ExitError{Code: cli.CodeSignal + int(syscall.SIGPIPE)}
	}
	if err = errors.Join(err, s.close()); err != nil {
		return executableWords(err)
	}
	if code < 0 {
		return fmt.Errorf("the exit code of the command in container %q is not known", c.Config.Name)
	}
	return exitCode(code, c.Config.Name)
}
