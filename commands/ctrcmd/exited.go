package ctrcmd

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// newExited is what the monitor of a container runs when the container has
// exited: it settles what is left to settle.
func newExited(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "exited CONTAINER START",
		Short:   "Settle a container that has exited",
		Long:    "Settle a container whose start of that number has ended. The container's monitor runs it.",
		Example: "  davit container exited 3f57d9401f8d 1\n  davit container exited 3f57d9401f8d 2",
		Args:    cli.Args(2, 2),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			start, err := strconv.Atoi(args[1])
			if err != nil || start < 0 {
				return cli.Usagef("%q is not the number of a start", args[1])
			}
			e, err := env.Engine(cmd.Context(), cli.Containers, cli.Pods)
			if err != nil {
				return err
			}
			return e.Pods.ContainerExited(cmd.Context(), args[0], start)
		},
	}
}
