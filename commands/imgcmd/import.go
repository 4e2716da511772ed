package imgcmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// importOptions are the flags of import.
type importOptions struct {
	Changes  []string
	Message  string
	Platform string
	Quiet    bool
}

func newImport(env *cli.Env) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import FILE|- [NAME]",
		Short: "Make an image of a root file system in a tar file",
		Long: "Make an image with one layer of a root file system in a tar file, compressed or not;\n" +
			"- is standard input. The image's ID is printed.",
		Example: "  davit import rootfs.tar localhost/base:1\n" +
			"  davit import --change CMD=/bin/sh --message nightly - localhost/base:2 < rootfs.tar",
		Args: cli.Args(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := o.parse(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, i)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&o.Changes, "change", "c", nil, "`INSTRUCTION` of a Dockerfile for the image's configuration (may be repeated)")
	fs.StringVarP(&o.Message, "message", "m", "", "`TEXT` for the image's history")
	fs.StringVar(&o.Platform, "platform", "", "platform of the image: `OS/ARCH[/VARIANT]`")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// parse reads the arguments; a Path of "-" is standard input.
func (o importOptions) parse(args []string) (img.ImportOptions, error) {
	i := img.ImportOptions{Path: args[0], Changes: o.Changes, Message: o.Message}
	if len(args) > 1 {
		i.Name = args[1]
	}
	if strings.Contains(args[0], "://") {
		return i, cli.Usagef("%q is not a file", args[0]).Hintf("curl -fsSL %s | davit import -", args[0])
	}
	var err error
	if i.Platform, err = img.ParsePlatform(o.Platform); err != nil {
		return i, cli.Usagef("--platform %q is not OS/ARCH[/VARIANT]", o.Platform)
	}
	return i, nil
}

func (o importOptions) run(ctx context.Context, env *cli.Env, i img.ImportOptions) error {
	if i.Path == "-" {
		if env.InIsTerminal() {
			return cli.Usagef("an archive is not read from a terminal").Hintf("redirect the input")
		}
		i.Path, i.Reader = "", env.In
	}
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return err
	}
	progress := env.Progress("Importing", o.Quiet || !env.Fancy(env.Err))
	i.Progress = progress.Event
	image, err := e.Images.Import(ctx, i)
	progress.Close()
	if err != nil {
		return cli.Cause(ctx, err)
	}
	_, err = fmt.Fprintln(env.Out, "sha256:"+image.ID)
	return err
}
