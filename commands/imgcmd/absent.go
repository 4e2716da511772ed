package imgcmd

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// lister lists local images.
type lister interface {
	List(ctx context.Context, o img.ListOptions) ([]img.Image, error)
}

// absent adds to the error of an image that is not here which one was perhaps
// meant, or where to look.
func absent(ctx context.Context, store lister, ref string, err error) error {
	if !errdefs.IsNotFound(err) {
		return err
	}
	images, _ := store.List(ctx, img.ListOptions{}) // for the hint only
	if near := nearest(ref, images); near != "" {
		return cli.WithHint(err, "did you mean %s?", near)
	}
	return cli.WithHint(err, "davit images lists what is here")
}

// nearest is the name of an image that ref looks like, as far as ref spells it
// out: "busybx" is near "busybox", whatever its registry and tag.
func nearest(ref string, images []img.Image) string {
	var names []string
	for _, im := range images {
		for _, name := range im.RepoTags() {
			repository, _ := splitName(name)
			for _, n := range []string{name, repository} {
				for strings.Count(n, "/") > strings.Count(ref, "/") {
					_, n, _ = strings.Cut(n, "/")
				}
				names = append(names, n)
			}
		}
	}
	return cli.Nearest(ref, names)
}
