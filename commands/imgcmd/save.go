package imgcmd

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// saveOptions are the flags of save.
type saveOptions struct {
	Output       string
	Format       string
	Multi        bool
	Quiet        bool
	Compress     bool
	Uncompressed bool
}

func saveFormats() []string {
	return []string{
		string(img.FormatDockerArchive), string(img.FormatOCIArchive), string(img.FormatOCIDir), string(img.FormatDockerDir),
	}
}

func newSave(env *cli.Env) *cobra.Command {
	var o saveOptions
	cmd := &cobra.Command{
		Use:   "save IMAGE...",
		Short: "Write images into an archive or a folder",
		Long: "Write images into an archive or a folder, for davit load, podman load or docker load.\n" +
			"Without --output the archive goes to standard output, which may not be a terminal.",
		Example: "  davit save -o alpine.tar docker.io/library/alpine\n" +
			"  davit save --format oci-archive docker.io/library/alpine > alpine.tar",
		Args: cli.Args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.parse(args, env.OutIsTerminal())
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, args, s)
		},
		ValidArgsFunction: imageNames(env),
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.Output, "output", "o", "", "`FILE` or folder to write")
	fs.StringVar(&o.Format, "format", string(img.FormatDockerArchive), "`FORMAT`: docker-archive, oci-archive, oci-dir or docker-dir")
	fs.BoolVarP(&o.Multi, "multi-image-archive", "m", false, "several arguments are several images (they always are)")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&o.Compress, "compress", false, "compress the layers of docker-dir")
	fs.BoolVar(&o.Uncompressed, "uncompressed", false, "leave the layers of the OCI formats uncompressed")
	_ = cmd.RegisterFlagCompletionFunc("format", cli.Words(saveFormats()...))
	return cmd
}

// parse checks the flags, all but where to write when that is standard output.
func (o saveOptions) parse(refs []string, terminal bool) (img.SaveOptions, error) {
	s := img.SaveOptions{
		Format: img.SaveFormat(o.Format), Path: o.Output, Compress: o.Compress, Uncompressed: o.Uncompressed,
	}
	dir := s.Format == img.FormatOCIDir || s.Format == img.FormatDockerDir
	switch {
	case !slices.Contains(saveFormats(), o.Format):
		return s, cli.Usagef("--format %q is none of docker-archive, oci-archive, oci-dir, docker-dir", o.Format)
	case dir && o.Output == "":
		return s, cli.Usagef("--format %s writes a folder: --output is missing", o.Format)
	case s.Format == img.FormatDockerDir && len(refs) > 1:
		return s, cli.Usagef("--format %s holds one image, %d are given", o.Format, len(refs))
	case o.Compress && s.Format != img.FormatDockerDir:
		return s, cli.Usagef("--compress is for --format docker-dir")
	case o.Output == "" && terminal:
		return s, cli.Usagef("an archive is not written to a terminal").Hintf("use -o FILE, or redirect the output")
	}
	return s, nil
}

func (o saveOptions) run(ctx context.Context, env *cli.Env, refs []string, s img.SaveOptions) error {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return err
	}
	if s.Path == "" {
		s.Writer = env.Out
	}
	progress := env.Progress("Saving", o.Quiet || s.Path == "" && !env.Fancy(env.Err))
	defer progress.Close()
	s.Progress = progress.Event
	err = e.Images.Save(ctx, refs, s)
	if len(refs) == 1 {
		err = absent(ctx, e.Images, refs[0], err)
	}
	return cli.Cause(ctx, err)
}
