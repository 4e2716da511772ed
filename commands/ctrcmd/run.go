package ctrcmd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/pod"
)

// runOptions are the flags of run.
type runOptions struct {
	options.Create
	Detach bool
}

func newRun(env *cli.Env) *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run [flags] IMAGE [COMMAND [ARG...]]",
		Short: "Run a command in a new container",
		Long: "Make a container from an image and start it. In the foreground its streams are davit's,\n" +
			"signals are passed on to it, and its exit code is davit's; an exit code of 125 is davit's\n" +
			"own, 126 and 127 say that the command cannot be executed or does not exist. With --detach\n" +
			"the container's ID is printed and it runs in the background.",
		Example: "  davit run --rm -it docker.io/library/alpine sh\n" +
			"  davit run -d --name web -p 8080:80 docker.io/library/nginx\n" +
			"  davit run --rm -v ./src:/src:ro -w /src docker.io/library/golang go vet ./...",
		Args:              cli.Args(1, -1),
		ValidArgsFunction: cli.First(1, images(env)),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := options.NewHost(env)
			if err != nil {
				return err
			}
			plan, err := o.plan(host, args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, host, plan)
		},
	}
	if !env.Wants("run") {
		return cmd
	}
	cli.LongHelp(cmd)
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	cli.FlagGroup(fs, "Session", func(fs *pflag.FlagSet) {
		fs.BoolVarP(&o.Detach, "detach", "d", false, "run in the background and print the container's ID")
		o.Session.AttachFlag(fs)
		o.Session.Flags(fs)
	})
	o.Create.Flags(fs)
	completeFlags(env, cmd)
	return cmd
}

// plan reads the flags.
func (o *runOptions) plan(h options.Host, args []string) (options.Plan, error) {
	plan, err := o.Create.Plan(h, args)
	if err != nil {
		return plan, err
	}
	if o.Detach && len(o.Attach) > 0 {
		return plan, cli.Usagef("--detach and --attach contradict each other")
	}
	if _, err := detachKeys(o.Session.Keys(h)); err != nil {
		return plan, err
	}
	return plan, nil
}

func (o *runOptions) run(ctx context.Context, env *cli.Env, h options.Host, plan options.Plan) error {
	p, err := prepare(ctx, env, &o.Create, plan)
	if err != nil {
		return err
	}
	if o.Detach {
		return o.background(ctx, env, p)
	}
	return o.foreground(ctx, env, h, p)
}

func (o *runOptions) background(ctx context.Context, env *cli.Env, p prepared) error {
	running, err := p.engine.Pods.RunContainer(ctx, p.launch)
	if err != nil {
		return o.notStarted(ctx, env, p, err)
	}
	if _, err := fmt.Fprintln(env.Out, running.ID); err != nil {
		return err
	}
	return writePIDFile(ctx, p.engine, o.PIDFile, running.ID)
}

// notStarted takes back what was made for a container that could not be started:
// a run that fails changes nothing.
func (o *runOptions) notStarted(ctx context.Context, env *cli.Env, p prepared, err error) error {
	err = launchHint(ctx, env, p.engine, p.launch, cli.Cause(ctx, err))
	ctx = context.WithoutCancel(ctx)
	undone := errors.Join(
		ignoreAbsent(p.engine.Pods.RemoveContainer(ctx, p.launch.Container.ID, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce(), Volumes: true})), p.undo(ctx))
	if undone != nil {
		// Beside the error, which is not printed when it is a signal.
		env.Log().Warn("taking back what was made; the next command tries again", "error", undone)
	}
	return err
}

func (o *runOptions) foreground(ctx context.Context, env *cli.Env, h options.Host, p prepared) (err error) {
	c := &p.launch.Container
	tty := c.Process.Terminal
	if tty && c.Process.Stdin && !env.InIsTerminal() {
		fmt.Fprintln(env.Err, "Warning: standard input is not a terminal; -t gives the container one all the same")
	}
	s, err := openSession(env, sessionConfig{
		TTY:   tty,
		Stdin: c.Process.Stdin && o.Session.Attached("stdin"), Stdout: o.Session.Attached("stdout"),
		Stderr: o.Session.Attached("stderr"), Keys: o.Session.Keys(h),
	})
	if err != nil {
		return errors.Join(err, p.undo(context.WithoutCancel(ctx)))
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if tty {
		c.ConsoleSize = consoleSize(env)
	}
	p.launch.Streams = &s.streams
	inner, started := untilStarted(ctx)
	running, err := p.engine.Pods.RunContainer(inner, p.launch)
	started()
	if err != nil {
		return errors.Join(s.close(), o.notStarted(ctx, env, p, err))
	}
	if err := writePIDFile(inner, p.engine, o.PIDFile, running.ID); err != nil {
		env.Log().Warn("writing a file", "error", err)
	}
	return accompany(ctx, env, p.engine, company{session: s, running: running, proxy: o.SigProxy, name: c.Name})
}

// company is a client that stays with a container until it ends.
type company struct {
	session *session
	running *pod.Running
	proxy   bool
	name    string
}

// accompany passes signals on to a running container, copies its streams, and
// returns its exit code as an error; nil for 0, and for a client that detached.
func accompany(ctx context.Context, env *cli.Env, e *cli.Engine, c company) error {
	wait := ctx
	if c.proxy {
		wait = context.WithoutCancel(ctx)
		env.TakeSignals()
		kill := func(sig syscall.Signal) {
			// One that has ended meanwhile needs no signal.
			_ = e.Containers.Kill(wait, c.running.ID, spec.SignalName(sig))
		}
		catcher := catch(proxied(), insist(env, kill))
		defer catcher.stop()
		var sig *cli.SignalError
		if errors.As(context.Cause(ctx), &sig) {
			kill(sig.Signal) // it came while the container was being started
		}
	}
	ended := make(chan struct{})
	left := make(chan struct{})
	go func() {
		defer close(left)
		hangUp(wait, e, c, ended)
	}()
	code, detached, err := c.running.Wait(wait)
	close(ended)
	<-left
	broken := isClosed(c.session.broken)
	if cerr := c.session.close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		return cli.Cause(ctx, err)
	case broken:
		return &cli.ExitError{Code: cli.CodeSignal + int(syscall.SIGPIPE)}
	case detached:
		return nil
	}
	return exitCode(code, c.name)
}

// insist passes signals on, and ends a container that does not heed Ctrl-C: the
// second one is answered with a hint, the third one kills. Only for somebody at
// a terminal: a program that sends signals means what it sends.
func insist(env *cli.Env, kill func(syscall.Signal)) func(syscall.Signal) {
	if !env.InIsTerminal() && !env.ErrIsTerminal() {
		return kill
	}
	interrupts := 0
	return func(sig syscall.Signal) {
		kill(sig)
		if sig != syscall.SIGINT {
			return
		}
		switch interrupts++; interrupts {
		case 2:
			fmt.Fprintln(env.Err, "\nWarning: the container does not end on Ctrl-C (--init may help); once more kills it")
		case 3:
			kill(syscall.SIGKILL)
		}
	}
}

// hangUp stops a container whose output nobody reads any more, as a shell's pipe
// would.
func hangUp(ctx context.Context, e *cli.Engine, c company, ended <-chan struct{}) {
	select {
	case <-ended:
	case <-c.session.broken:
		if c.proxy {
			grace := 2 * time.Second
			_ = e.Containers.Stop(ctx, c.running.ID, ctr.StopOptions{Timeout: &grace})
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// exitCode is a container's exit code as an error.
func exitCode(code int, name string) error {
	switch {
	case code == 0:
		return nil
	case code < 0:
		return fmt.Errorf("the exit code of container %q is not known: its monitor died", name)
	}
	return &cli.ExitError{Code: code}
}

// images completes the names of local images.
func images(env *cli.Env) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) {
		e, err := env.Engine(ctx, cli.Images)
		if err != nil {
			return nil, err
		}
		list, err := e.Images.List(ctx, img.ListOptions{})
		var out []string
		for _, i := range list {
			out = append(out, i.RepoTags()...)
		}
		return out, err
	})
}

// completeFlags completes the values of run's and create's flags.
func completeFlags(env *cli.Env, cmd *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"pull":         cli.Words("always", "missing", "newer", "never"),
		"pod":          podNames(env),
		"volumes-from": names(env),
		"log-driver":   cli.Words("k8s-file", "none"),
		"cgroups":      cli.Words("enabled", "disabled"),
		"cap-add":      cli.Words(append(spec.AllCapabilities(), "ALL")...),
		"cap-drop":     cli.Words(append(spec.AllCapabilities(), "ALL")...),
		"network":      networks(env),
		"pid":          cli.Words("private", "host", "pod"),
		"ipc":          cli.Words("private", "host", "pod"),
		"uts":          cli.Words("private", "host", "pod"),
		"attach":       cli.Words("stdin", "stdout", "stderr"),
		"restart":      cli.Words(ctr.RestartNo, ctr.RestartOnFailure, ctr.RestartAlways, ctr.RestartUnlessStopped),

		"health-on-failure": cli.Words(options.HealthActions()...),
	} {
		if cmd.Flags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, complete)
		}
	}
}

// networks completes the names of networks.
func networks(env *cli.Env) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) {
		e, err := env.Engine(ctx, cli.Networks)
		if err != nil {
			return nil, err
		}
		list, err := e.Networks.Networks(ctx)
		out := []string{"host", "none"}
		for _, n := range list {
			out = append(out, n.Name)
		}
		return out, err
	})
}

// podNames completes the names of pods.
func podNames(env *cli.Env) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) {
		e, err := env.Engine(ctx, cli.Pods)
		if err != nil {
			return nil, err
		}
		list, err := e.Pods.List(ctx)
		var out []string
		for _, s := range list {
			if !s.Config.Implicit {
				out = append(out, s.Config.Name)
			}
		}
		return out, err
	})
}
