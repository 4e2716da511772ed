package syscmd

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/syscmd/doctor"
)

func newDoctor(env *cli.Env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what the host lacks or has wrong, and how to mend it",
		Long: "Look at what davit needs of the host: kernel, cgroups, storage, OCI runtimes, monitor, CNI\n" +
			"plugins and networks, firewall, limits, clock, space, security, configuration files. Each\n" +
			"line says ok, warn or fail, what was found, and what to type where it is to be mended.\n" +
			"Nothing is changed, and no program is waited for longer than seconds.\n\n" +
			"The exit code is 1 when something fails, so that containers do not work, or soon will not;\n" +
			"0 when all is well or there are warnings only; 125 when it could not be looked at.",
		Example: "  davit system doctor\n  davit system doctor --format '{{.Level}} {{.Subject}}'",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cli.Output[doctor.Finding]{Format: format, Table: "{{.Level}}\t{{.Subject}}\t{{.Found}}\t{{.Fix}}"}
			if err := out.Check(); err != nil {
				return err
			}
			found, err := diagnose(cmd.Context(), env)
			if err != nil {
				return err
			}
			if err := out.Print(env.Out, found); err != nil {
				return err
			}
			if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == doctor.Fail }) {
				return &cli.ExitError{Code: 1}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`FORMAT`: json, table, or a Go template")
	return cmd
}

// diagnose opens what can be opened, and looks at the rest all the same.
func diagnose(ctx context.Context, env *cli.Env) ([]doctor.Finding, error) {
	e, err := env.Engine(ctx, cli.Networks, cli.Containers)
	if err != nil {
		return nil, err
	}
	c, err := env.Config()
	if err != nil {
		return nil, err
	}
	_, storeErr := env.Engine(ctx, cli.Images)
	h := doctor.Host{Config: c, Engine: e, StoreError: storeErr, Now: env.Now, Proc: "/proc", Sys: "/sys"}
	return doctor.Judge(doctor.Read(ctx, h)), nil
}
