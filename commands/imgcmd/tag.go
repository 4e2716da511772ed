package imgcmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newTag(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "tag IMAGE NAME...",
		Short:   "Give an image more names",
		Long:    "Give an image more names. A NAME without a registry is localhost's, one without a tag\ngets :latest. A name that another image has moves from it.",
		Example: "  davit tag docker.io/library/alpine localhost/base:1\n  davit tag 3f57d9401f8d localhost:5000/app:1 localhost:5000/app:latest",
		Args:    cli.Args(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.Engine(cmd.Context(), cli.Images)
			if err != nil {
				return err
			}
			err = e.Images.Tag(cmd.Context(), args[0], args[1:]...)
			return absent(cmd.Context(), e.Images, args[0], err)
		},
		ValidArgsFunction: imageNames(env),
	}
}

func newUntag(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "untag IMAGE [NAME...]",
		Short:   "Take names away from an image",
		Long:    "Take names away from an image, all of them if none is given. The image itself stays.",
		Example: "  davit untag localhost/base:1\n  davit untag 3f57d9401f8d localhost/base:1",
		Args:    cli.Args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.Engine(cmd.Context(), cli.Images)
			if err != nil {
				return err
			}
			err = e.Images.Untag(cmd.Context(), args[0], args[1:]...)
			return absent(cmd.Context(), e.Images, args[0], err)
		},
		ValidArgsFunction: imageNames(env),
	}
}
