package imgcmd

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// Commands are the verbs about images, at the top and below image.
func Commands(env *cli.Env) []*cobra.Command {
	return cli.InGroup(cli.GroupImages, cli.Make(env,
		cli.Verb{Name: "pull", New: newPull},
		cli.Verb{Name: "images", New: func(env *cli.Env) *cobra.Command { return newList(env, "images [NAME]") }},
		cli.Verb{Name: "rmi", New: func(env *cli.Env) *cobra.Command { return newRemove(env, "rmi [IMAGE...]") }},
		cli.Verb{Name: "tag", New: newTag},
		cli.Verb{Name: "untag", New: newUntag},
		cli.Verb{Name: "history", New: newHistory},
		cli.Verb{Name: "save", New: newSave},
		cli.Verb{Name: "load", New: newLoad},
		cli.Verb{Name: "import", New: newImport},
		cli.Verb{Name: "image", New: newImage, For: "inspect"},
	)...)
}

func newImage(env *cli.Env) *cobra.Command {
	return cli.Parent(&cobra.Command{
		Use:     "image",
		Short:   "Work with images",
		Long:    "Work with the images of this machine.",
		Example: "  davit image ls\n  davit image inspect docker.io/library/alpine",
	},
		newPull(env),
		newList(env, "ls [NAME]", "list"),
		newRemove(env, "rm [IMAGE...]", "remove"),
		newTag(env), newUntag(env),
		newInspect(env), newExists(env), newHistory(env), newPrune(env),
		newSave(env), newLoad(env), newImport(env),
	)
}

// imageNames completes the names of local images, and what more adds.
func imageNames(env *cli.Env) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) { return names(ctx, env) })
}

// names are the full names of local images.
func names(ctx context.Context, env *cli.Env) ([]string, error) {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return nil, err
	}
	images, err := e.Images.List(ctx, img.ListOptions{})
	if err != nil && len(images) == 0 {
		return nil, err
	}
	var out []string
	for _, im := range images {
		out = append(out, im.RepoTags()...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
