package ctrcmd

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

// newHealthcheck is the verbs about health checks.
func newHealthcheck(env *cli.Env) *cobra.Command {
	return cli.Parent(&cobra.Command{
		Use:     "healthcheck",
		Short:   "Check the health of containers",
		Long:    "Check the health of containers that have a health check, --health-cmd's or their image's.",
		Example: "  davit healthcheck run web\n  davit healthcheck run $(davit ps -lq)",
	}, newHealthcheckRun(env))
}

func newHealthcheckRun(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "run CONTAINER",
		Short: "Run the health check of a container now",
		Long: "Run the health check of a running container now, beside those that are run by themselves, and\n" +
			"count what it shows. The exit code is 0 if it has passed, 1 if not, 125 if there is none to run.",
		Example:           "  davit healthcheck run web\n  davit healthcheck run web || davit restart web",
		Args:              cli.Args(1, 1),
		ValidArgsFunction: cli.First(1, names(env, ctr.Running)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runHealthcheck(cmd.Context(), env, args[0])
		},
	}
}

func runHealthcheck(ctx context.Context, env *cli.Env, ref string) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	c, err := find(ctx, e, ref)
	if err != nil {
		return err
	}
	switch {
	case c.Config.Health == nil:
		return cli.WithHint(say(errdefs.ErrFailedPrecondition, "container %q has no health check", c.Config.Name),
			"davit run --health-cmd COMMAND makes one that has")
	case c.Status.State != ctr.Running:
		return notRunning(c, "davit ps lists the containers that run")
	}
	o, err := e.Pods.CheckHealth(ctx, c.ID)
	if err != nil {
		return cli.Cause(ctx, err)
	}
	if o.ExitCode == 0 {
		return nil
	}
	word := ctr.Unhealthy
	if o.State.Status == ctr.HealthStarting {
		word = ctr.HealthStarting
	}
	if _, err := fmt.Fprintln(env.Out, word); err != nil {
		return err
	}
	return &cli.ExitError{Code: 1}
}
