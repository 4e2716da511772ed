package volcmd

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newInspect(env *cli.Env) *cobra.Command {
	var format string
	var all bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] VOLUME...",
		Short: "Show all that is known of volumes",
		Long: "Show all that is known of volumes, as JSON or by a Go template. One that is absent does not keep\n" +
			"the others from being shown.",
		Example: "  davit volume inspect data\n" +
			"  davit volume inspect --format '{{.Mountpoint}}' data",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return cli.Usagef("--all takes no names")
			case !all && len(args) == 0:
				return cli.Usagef("a volume is missing").Hintf("name one, or use --all")
			}
			if format != "" {
				if err := (cli.Output[Row]{Format: format}).Check(); err != nil {
					return err
				}
			}
			if all {
				rows, err := list(cmd.Context(), env, nil)
				if err != nil {
					return err
				}
				return cli.PrintObjects(env.Out, format, rows)
			}
			e, err := open(cmd.Context(), env)
			if err != nil {
				return err
			}
			var rows []Row
			failed := env.Each(args, cli.Code, func(ref string) error {
				v, err := find(e, ref)
				if err != nil {
					return err
				}
				used, err := users(cmd.Context(), e)(v.Name)
				rows = append(rows, row(v, used))
				return err
			})
			return errors.Join(cli.PrintObjects(env.Out, format, rows), failed)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`FORMAT`: json, or a Go template")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "of all volumes")
	return cmd
}
