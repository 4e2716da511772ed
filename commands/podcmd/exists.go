package podcmd

import (
	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newExists(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "exists POD",
		Short: "Tell by the exit code whether a pod exists",
		Long:  "Exit with 0 if there is such a pod, with 1 if there is none, and with 125 if that cannot be told.",
		Example: "  davit pod exists shop || davit pod create --name shop\n" +
			"  davit pod exists shop && davit pod rm --force shop",
		Args:              cli.Args(1, 1),
		ValidArgsFunction: cli.First(1, names(env)),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.Engine(cmd.Context(), cli.Pods)
			if err != nil {
				return err
			}
			_, err = e.Pods.Resolve(args[0])
			if errdefs.IsNotFound(err) {
				return &cli.ExitError{Code: cli.CodeAbsent}
			}
			return err
		},
	}
}
