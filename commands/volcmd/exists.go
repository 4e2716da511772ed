package volcmd

import (
	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newExists(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "exists VOLUME",
		Short: "Tell by the exit code whether a volume exists",
		Long:  "Exit with 0 if there is such a volume, with 1 if there is none, and with 125 if that cannot be told.",
		Example: "  davit volume exists data || davit volume create data\n" +
			"  davit volume exists data && davit volume inspect data",
		Args:              cli.Args(1, 1),
		ValidArgsFunction: cli.First(1, names(env)),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := open(cmd.Context(), env)
			if err != nil {
				return err
			}
			_, err = e.Volumes.Resolve(args[0])
			if errdefs.IsNotFound(err) {
				return &cli.ExitError{Code: cli.CodeAbsent}
			}
			return err
		},
	}
}
