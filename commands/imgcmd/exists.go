package imgcmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newExists(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "exists IMAGE",
		Short:   "Tell whether an image is here",
		Long:    "Tell whether an image is here: the exit code is 0 if it is, 1 if it is not. Nothing\nis printed.",
		Example: "  davit image exists docker.io/library/alpine\n  davit image exists localhost/app:1 || davit pull localhost/app:1",
		Args:    cli.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.Engine(cmd.Context(), cli.Images)
			if err != nil {
				return err
			}
			ok, err := e.Images.Exists(cmd.Context(), args[0])
			if err == nil && !ok {
				return &cli.ExitError{Code: cli.CodeAbsent}
			}
			return err
		},
		ValidArgsFunction: cli.First(1, imageNames(env)),
	}
}
