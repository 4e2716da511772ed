package ctrcmd

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/ctr/record"
)

func newRename(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:               "rename CONTAINER NAME",
		Short:             "Give a container another name",
		Long:              "Give a container another name. The old one is free at once.",
		Example:           "  davit rename web web-old\n  davit rename 3f57d9401f8d db",
		Args:              cli.Args(2, 2),
		ValidArgsFunction: cli.First(1, names(env)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := options.CheckName("name", args[1]); err != nil || args[1] == "" {
				return cli.Usagef("%q is not a name: give letters, digits, '_', '.' and '-', a letter or digit first", args[1])
			}
			e, err := engine(ctx, env)
			if err != nil {
				return err
			}
			c, err := find(ctx, e, args[0])
			if err != nil {
				return err
			}
			if err := guard(c, nil); err != nil {
				return err
			}
			err = e.Containers.Rename(ctx, c.ID, args[1])
			var taken *record.NameTakenError
			if errors.As(err, &taken) {
				return nameTaken(ctx, e, taken)
			}
			return err
		},
	}
}
