package imgcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// loadOptions are the flags of load.
type loadOptions struct {
	Input string
	Quiet bool
}

func newLoad(env *cli.Env) *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:     "load",
		Short:   "Read images from an archive or a folder",
		Long:    "Read the images of an archive or a folder that davit save, podman save, docker save or\nskopeo wrote, with their names. Without --input the archive is read from standard input.",
		Example: "  davit load -i alpine.tar\n  davit load < alpine.tar",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Input == "" && env.InIsTerminal() {
				return cli.Usagef("an archive is not read from a terminal").Hintf("use -i FILE, or redirect the input")
			}
			return o.run(cmd.Context(), env)
		},
	}
	cmd.Flags().StringVarP(&o.Input, "input", "i", "", "`FILE` or folder to read")
	cmd.Flags().BoolVarP(&o.Quiet, "quiet", "q", false, "show no progress")
	return cmd
}

func (o loadOptions) run(ctx context.Context, env *cli.Env) error {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return err
	}
	l := img.LoadOptions{Path: o.Input, Owner: "cli"}
	if o.Input == "" {
		l.Reader = env.In
	}
	progress := env.Progress("Loading", o.Quiet || !env.Fancy(env.Err))
	l.Progress = progress.Event
	images, err := e.Images.Load(ctx, l)
	progress.Close()
	return errors.Join(cli.Cause(ctx, err), writeLoaded(env.Out, images))
}

func writeLoaded(w io.Writer, images []img.Image) error {
	var b strings.Builder
	for _, im := range images {
		names := im.Names
		if len(names) == 0 {
			names = []string{"sha256:" + im.ID}
		}
		for _, name := range names {
			fmt.Fprintf(&b, "Loaded image: %s\n", name)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
