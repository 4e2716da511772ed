package imgcmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// pullOptions are the flags of pull.
type pullOptions struct {
	Quiet    bool
	Policy   string
	Platform string
	Arch     string
	OS       string
	Variant  string
	Retry    int
	Delay    time.Duration
	Registry registryOptions
}

func newPull(env *cli.Env) *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Fetch images from a registry",
		Long: "Fetch images from a registry, or from a file or folder: docker://NAME, oci:FOLDER,\n" +
			"oci-archive:FILE, docker-archive:FILE, dir:FOLDER. A short name is looked up in\n" +
			"registries.conf. The IDs of the images are printed. A pull that was interrupted\n" +
			"goes on where it was when it is given again.",
		Example: "  davit pull docker.io/library/alpine\n" +
			"  davit pull --platform linux/arm64 quay.io/podman/hello\n" +
			"  davit pull --tls-verify=false localhost:5000/busybox",
		Args: cli.Args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := o.parse(cmd.Flags().Changed("tls-verify"))
			if err != nil {
				return err
			}
			return pull(cmd.Context(), env, args, p, o.Quiet)
		},
		ValidArgsFunction: imageNames(env),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "show no progress")
	fs.StringVar(&o.Policy, "policy", "always", "`WHEN` to ask the registry: always, missing, newer or never")
	fs.IntVar(&o.Retry, "retry", 3, "`TIMES` to try again when it fails for a passing reason")
	fs.DurationVar(&o.Delay, "retry-delay", time.Second, "`TIME` between tries")
	cli.FlagGroup(fs, "Platform", func(fs *pflag.FlagSet) {
		fs.StringVar(&o.Platform, "platform", "", "platform: `OS/ARCH[/VARIANT]`")
		fs.StringVar(&o.Arch, "arch", "", "`ARCH` instead of this machine's")
		fs.StringVar(&o.OS, "os", "", "`OS` instead of linux")
		fs.StringVar(&o.Variant, "variant", "", "`VARIANT` of the architecture")
	})
	cli.FlagGroup(fs, "Registry", o.Registry.flags)
	_ = cmd.RegisterFlagCompletionFunc("policy", cli.Words("always", "missing", "newer", "never"))
	return cmd
}

// parse turns flags into what the store is asked.
func (o pullOptions) parse(tlsGiven bool) (img.PullOptions, error) {
	var p img.PullOptions
	var err error
	if p.Policy, err = img.ParsePullPolicy(o.Policy); err != nil {
		return p, cli.Usagef("--policy %q is none of always, missing, newer, never", o.Policy)
	}
	if o.Platform != "" && (o.Arch != "" || o.OS != "" || o.Variant != "") {
		return p, cli.Usagef("--platform says what --arch, --os and --variant say: use either")
	}
	if p.Platform, err = img.ParsePlatform(o.Platform); err != nil {
		return p, cli.Usagef("--platform %q is not OS/ARCH[/VARIANT]", o.Platform).Hintf("for example --platform linux/arm64")
	}
	if o.Platform == "" {
		p.Platform = img.Platform{OS: o.OS, Architecture: o.Arch, Variant: o.Variant}
	}
	if o.Retry < 0 || o.Delay < 0 {
		return p, cli.Usagef("--retry and --retry-delay are not negative")
	}
	p.Retries, p.RetryDelay = o.Retry, o.Delay
	if o.Retry == 0 {
		p.Retries = -1
	}
	p.Registry, err = o.Registry.parse(tlsGiven)
	p.Owner = "cli"
	return p, err
}

func pull(ctx context.Context, env *cli.Env, refs []string, p img.PullOptions, quiet bool) error {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return err
	}
	return env.Each(refs, cli.Code, func(ref string) error {
		progress := env.Progress("Pulling", quiet)
		p.Progress = progress.Event
		image, err := e.Images.Pull(ctx, ref, p)
		progress.Close()
		if err != nil {
			return cli.Cause(ctx, err)
		}
		_, err = fmt.Fprintln(env.Out, image.ID)
		return err
	})
}
