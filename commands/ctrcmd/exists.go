package ctrcmd

import (
	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newExists(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "exists CONTAINER",
		Short: "Tell by the exit code whether a container exists",
		Long:  "Exit with 0 if there is such a container, with 1 if there is none, and with 125 if that cannot be told.",
		Example: "  davit container exists web && davit rm --force web\n" +
			"  davit container exists web || davit create --name web docker.io/library/nginx",
		Args:              cli.Args(1, 1),
		ValidArgsFunction: cli.First(1, names(env)),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.Engine(cmd.Context(), cli.Containers)
			if err != nil {
				return err
			}
			_, err = e.Containers.Resolve(args[0])
			if errdefs.IsNotFound(err) {
				return &cli.ExitError{Code: cli.CodeAbsent}
			}
			return err
		},
	}
}
