package podcmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// newTend is what a pod's timer process runs.
func newTend(env *cli.Env) *cobra.Command {
	locked := false
	cmd := &cobra.Command{
		Use:   "tend POD",
		Short: "Look after the containers of a pod",
		Long: "Start those containers of the pod with that ID again whose restart policy says so, and check\n" +
			"their health, as long as there is something to wait for. davit runs it by itself.",
		Example: "  davit pod tend 3f57d9401f8d7c2f\n  davit pod tend --locked 3f57d9401f8d7c2f",
		Args:    cli.Args(1, 1),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			env.Stay() // nothing runs before the lock is kept from children
			e, err := env.Engine(cmd.Context(), cli.Containers, cli.Pods)
			if err != nil {
				return err
			}
			id, err := e.Pods.Resolve(args[0])
			if err != nil {
				return err
			}
			return e.Pods.Tend(cmd.Context(), id, locked)
		},
	}
	cmd.Flags().BoolVar(&locked, "locked", false, "the pod's lock is descriptor 3")
	return cmd
}
