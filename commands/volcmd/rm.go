package volcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

// removeOptions are the flags of volume rm.
type removeOptions struct {
	All   bool
	Force bool
}

func newRemove(env *cli.Env) *cobra.Command {
	o := &removeOptions{}
	cmd := &cobra.Command{
		Use:     "rm [flags] VOLUME...",
		Aliases: []string{"remove"},
		Short:   "Remove volumes",
		Long: "Remove volumes with what is in them. One that a container mounts, running or not, is not removed,\n" +
			"unless --force removes the container first. The exit code is 1 if a volume is absent, 2 if one is\n" +
			"in use.",
		Example: "  davit volume rm data\n" +
			"  davit volume rm --force data",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.All && len(args) > 0:
				return cli.Usagef("--all takes no names")
			case !o.All && len(args) == 0:
				return cli.Usagef("a volume is missing").Hintf("name one, or use --all")
			}
			return o.run(cmd.Context(), env, args)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "remove all volumes")
	fs.BoolVarP(&o.Force, "force", "f", false, "remove the containers that mount it first; an absent volume is no error")
	return cmd
}

func (o *removeOptions) run(ctx context.Context, env *cli.Env, refs []string) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	if o.All {
		all, err := e.Volumes.List()
		if err != nil {
			env.Log().Warn("some volumes cannot be read", "error", err)
		}
		for _, v := range all {
			refs = append(refs, v.Name)
		}
	}
	return env.Each(refs, cli.RemoveCode, func(ref string) error {
		v, err := find(e, ref)
		if errdefs.IsNotFound(err) && (o.Force || o.All) {
			return nil
		}
		if err != nil {
			return err
		}
		if o.Force {
			if err := removeUsers(ctx, e, v.Name); err != nil {
				return err
			}
		}
		err = e.Volumes.RemoveUnused(ctx, v.Name, users(ctx, e))
		if err != nil && !(errdefs.IsNotFound(err) && o.Force) {
			return removeHint(ref, err)
		}
		_, err = fmt.Fprintln(env.Out, ref)
		return err
	})
}

// removeUsers removes the containers that mount a volume.
func removeUsers(ctx context.Context, e *cli.Engine, name string) error {
	all, err := e.Containers.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		if !mounts(c, name) {
			continue
		}
		err := e.Pods.RemoveContainer(ctx, c.ID, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()})
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
