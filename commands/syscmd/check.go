package syscmd

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/pod/check"
)

// checkOptions are the flags of system check.
type checkOptions struct {
	repair bool
	format string
}

func newCheck(env *cli.Env) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find what davit's records and the machine disagree about",
		Long: "Find what does not agree: records without what they stand for, and mounts, namespaces,\n" +
			"network links, addresses, published ports, cgroups, monitors, runtime states, run files,\n" +
			"names and root filesystems of pods and containers that are not there. Each finding is a\n" +
			"line, with what would be done about it; --repair does it.\n\n" +
			"Nothing that is sound is touched, and what somebody is at work on is left alone: servers,\n" +
			"pods and other commands may go on meanwhile. The exit code is 0 when nothing is wrong,\n" +
			"or all of it is repaired, 1 when something is, and 125 when it could not be looked at.",
		Example: "  davit system check\n  davit system check --repair",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&o.repair, "repair", "r", false, "put right what can be")
	cmd.Flags().StringVarP(&o.format, "format", "f", "", "`FORMAT`: json, or a Go template for each finding")
	return cmd
}

func (o checkOptions) run(ctx context.Context, env *cli.Env) error {
	engine, err := env.Engine(ctx)
	if err != nil {
		return err
	}
	checker, err := engine.Checker(ctx)
	if err != nil {
		return err
	}
	outcomes, err := o.look(ctx, checker)
	if werr := o.write(env.Out, outcomes); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	for _, out := range outcomes {
		if !out.Repaired {
			return &cli.ExitError{Code: 1}
		}
	}
	return nil
}

func (o checkOptions) look(ctx context.Context, c *check.Checker) ([]check.Outcome, error) {
	if o.repair {
		return c.Repair(ctx)
	}
	found, err := c.Run(ctx)
	out := make([]check.Outcome, 0, len(found))
	for _, f := range found {
		out = append(out, check.Outcome{Finding: f})
	}
	return out, err
}

// write prints the outcomes, a line each.
func (o checkOptions) write(w io.Writer, outcomes []check.Outcome) error {
	switch o.format {
	case "":
	case "json":
		return cli.WriteJSON(w, outcomes)
	default:
		return cli.PrintObjects(w, o.format, outcomes)
	}
	for _, out := range outcomes {
		if _, err := fmt.Fprintf(w, "%s %s: %s: %s\n", out.Kind, out.Object, out.Problem, o.deed(out)); err != nil {
			return err
		}
	}
	return nil
}

// deed says what was done about a finding, or would be.
func (o checkOptions) deed(out check.Outcome) string {
	switch {
	case out.Repaired:
		return "repaired"
	case out.Error != "":
		return "not repaired: " + out.Error
	case out.Mend == nil:
		return "to mend it, " + out.Repair
	case o.repair:
		return "not repaired"
	}
	return "--repair would " + out.Repair
}
