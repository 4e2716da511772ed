package podcmd

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
)

func newInspect(env *cli.Env) *cobra.Command {
	var format string
	w := &which{}
	cmd := &cobra.Command{
		Use:   "inspect [flags] POD...",
		Short: "Show all that is known of pods",
		Long: "Show all that is known of pods, as JSON or by a Go template. One that is absent does not keep the\n" +
			"others from being shown.",
		Example: "  davit pod inspect shop\n" +
			"  davit pod inspect --format '{{.State}} {{.CgroupPath}}' shop",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			w.Refs = args
			if err := w.check(); err != nil {
				return err
			}
			if format != "" {
				if err := (cli.Output[show.PodObject]{Format: format}).Check(); err != nil {
					return err
				}
			}
			world, err := show.Read(ctx, env)
			if err != nil {
				return err
			}
			e, err := env.Engine(ctx, cli.Pods)
			if err != nil {
				return err
			}
			refs, err := w.refs(ctx, e, anyPod)
			if err != nil {
				return err
			}
			var found []show.PodObject
			failed := env.Each(refs, cli.Code, func(ref string) error {
				s, err := find(ctx, e, ref)
				if err == nil {
					found = append(found, world.PodObject(s))
				}
				return err
			})
			return errors.Join(cli.PrintObjects(env.Out, format, found), failed)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`FORMAT`: json, or a Go template")
	w.flags(cmd.Flags(), "of all pods")
	return cmd
}
