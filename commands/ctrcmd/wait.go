package ctrcmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
)

// waitOptions are the flags of wait.
type waitOptions struct {
	which
	Conditions []string
	Interval   string
}

func newWait(env *cli.Env) *cobra.Command {
	o := &waitOptions{}
	cmd := &cobra.Command{
		Use:   "wait [flags] CONTAINER...",
		Short: "Wait for containers to stop",
		Long: "Wait until containers have stopped, or are in another state, and print their exit codes, one\n" +
			"a line; -1 where there is none.",
		Example: "  davit wait job\n" +
			"  davit wait --condition healthy web",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&o.Conditions, "condition", []string{"stopped"}, "`STATE` to wait for: "+strings.Join(conditions(), ", ")+" (may be repeated: any of them)")
	fs.StringVarP(&o.Interval, "interval", "i", "", "`TIME` between two looks; taken as podman has it, and changes nothing: davit is told of each change")
	fs.BoolVar(&o.Ignore, "ignore", false, "an absent container is no error: -1 is printed")
	latest(&o.which, cmd)
	_ = cmd.RegisterFlagCompletionFunc("condition", cli.Words(conditions()...))
	return cmd
}

func conditions() []string {
	return []string{"stopped", show.Exited, "created", "running", "paused", "removed", ctr.Healthy, ctr.Unhealthy}
}

func (o *waitOptions) check() error {
	if err := o.which.check(); err != nil {
		return err
	}
	if o.Interval != "" {
		if _, err := cli.ParseSeconds(o.Interval); err != nil {
			return cli.Usagef("--interval: %s", err)
		}
	}
	for i, c := range o.Conditions {
		o.Conditions[i] = strings.ToLower(c)
		if !slices.Contains(conditions(), o.Conditions[i]) {
			return cli.Usagef("--condition %q is none of %s", c, strings.Join(conditions(), ", "))
		}
	}
	return nil
}

func (o *waitOptions) run(ctx context.Context, env *cli.Env) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	return env.Each(refs, cli.Code, func(ref string) error {
		code, err := o.await(ctx, e, ref)
		if err != nil {
			return cli.Cause(ctx, err)
		}
		_, err = fmt.Fprintln(env.Out, code)
		return err
	})
}

// await waits for one container and returns its exit code.
func (o *waitOptions) await(ctx context.Context, e *cli.Engine, ref string) (int, error) {
	c, err := find(ctx, e, ref)
	if errdefs.IsNotFound(err) && o.Ignore {
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	if !slices.ContainsFunc(o.Conditions, func(s string) bool { return s != "stopped" && s != show.Exited }) {
		if c.Status.State == ctr.Created {
			return o.watch(ctx, e, c.ID)
		}
		exit, err := e.Containers.Wait(ctx, c.ID)
		if err != nil {
			return 0, err
		}
		return exit.Code, nil
	}
	return o.watch(ctx, e, c.ID)
}

// watch follows a container's states until one that is waited for.
func (o *waitOptions) watch(ctx context.Context, e *cli.Engine, id string) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := e.Containers.Watch(ctx)
	if err != nil {
		return 0, err
	}
	last := -1
	for {
		c, err := e.Containers.Get(ctx, id)
		switch {
		case errdefs.IsNotFound(err) && slices.Contains(o.Conditions, "removed"):
			return last, nil
		case err != nil:
			return 0, err
		case o.met(c):
			return code(c.Status), nil
		}
		last = code(c.Status)
		// An exit is not always written down as it happens.
		exited, stop := o.exit(ctx, e, c)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-changes:
		case <-exited:
		}
		stop()
		if err != nil {
			return 0, err
		}
	}
}

// exit tells of the end of a container that runs.
func (o *waitOptions) exit(ctx context.Context, e *cli.Engine, c ctr.Container) (<-chan struct{}, func()) {
	if !c.Status.Alive() {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if _, err := e.Containers.Wait(ctx, c.ID); err == nil || errdefs.IsNotFound(err) {
			close(ended)
		}
	}()
	return ended, func() {
		cancel()
		<-done
	}
}

// met tells whether a state is one that is waited for.
func (o *waitOptions) met(c ctr.Container) bool {
	state, health := show.State(c.Status), show.Health(c)
	return slices.ContainsFunc(o.Conditions, func(want string) bool {
		return want == state || want == health || want == "stopped" && state == show.Exited
	})
}

// code is a container's exit code, -1 while it has none.
func code(s ctr.Status) int {
	if s.State == ctr.Stopped && s.CodeKnown {
		return s.ExitCode
	}
	return -1
}
