package volcmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/volume"
)

// createOptions are the flags of volume create.
type createOptions struct {
	Labels []string
	Ignore bool
}

func newCreate(env *cli.Env) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use:   "create [flags] [NAME]",
		Short: "Make a volume",
		Long:  "Make a volume and print its name. Without a name it gets one of 64 hexadecimal digits.",
		Example: "  davit volume create data\n" +
			"  davit volume create --label app=shop --ignore data",
		Args: cli.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.parse(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, c)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&o.Labels, "label", "l", nil, "label, as `KEY=VALUE` (may be repeated)")
	fs.BoolVar(&o.Ignore, "ignore", false, "one that is there already is no error")
	return cmd
}

// parse reads the flags.
func (o *createOptions) parse(args []string) (volume.Config, error) {
	var c volume.Config
	if len(args) > 0 {
		c.Name = args[0]
		if err := volume.CheckName(c.Name); err != nil {
			text, _ := cli.Message(err)
			return c, cli.Usagef("%s", text)
		}
	}
	for _, l := range o.Labels {
		key, value, _ := strings.Cut(l, "=")
		if key == "" {
			return c, cli.Usagef("--label: %q has no key: give KEY=VALUE", l)
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[key] = value
	}
	return c, nil
}

func (o *createOptions) run(ctx context.Context, env *cli.Env, c volume.Config) error {
	e, err := open(ctx, env)
	if err != nil {
		return err
	}
	v, err := e.Volumes.Create(ctx, c)
	if errdefs.IsAlreadyExists(err) {
		if !o.Ignore {
			return cli.WithHint(fmt.Errorf("there is a volume %q: %w", c.Name, errdefs.ErrAlreadyExists), "--ignore takes it as it is")
		}
		v, err = e.Volumes.Get(c.Name)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Out, v.Name)
	return err
}
