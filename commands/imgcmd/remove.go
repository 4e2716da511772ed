package imgcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
)

// removeOptions are the flags of rmi.
type removeOptions struct {
	All     bool
	Force   bool
	Ignore  bool
	NoPrune bool
}

func newRemove(env *cli.Env, use string, aliases ...string) *cobra.Command {
	var o removeOptions
	cmd := &cobra.Command{
		Use:     use,
		Aliases: aliases,
		Short:   "Remove images",
		Long: "Remove names of images, and an image with its last name. An image that a container\n" +
			"was made of stays, unless --force removes the container, too. The exit code is 1 if an image is absent, 2 if one is in use.",
		Example: "  davit rmi docker.io/library/alpine\n" +
			"  davit rmi --force 3f57d9401f8d\n" +
			"  davit rmi --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.parse(args); err != nil {
				return err
			}
			return o.run(cmd.Context(), env, args)
		},
		ValidArgsFunction: imageNames(env),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "remove every image")
	fs.BoolVarP(&o.Force, "force", "f", false, "remove an image with all its names, and the containers made of it; an absent one is no error")
	fs.BoolVarP(&o.Ignore, "ignore", "i", false, "an absent image is no error")
	fs.BoolVar(&o.NoPrune, "no-prune", false, "keep the nameless images that it was built on")
	return cmd
}

func (o removeOptions) parse(args []string) error {
	switch {
	case o.All && len(args) > 0:
		return cli.Usagef("--all takes no names")
	case !o.All && len(args) == 0:
		return cli.Usagef("an image is missing").Hintf("name one, or use --all")
	}
	return nil
}

func (o removeOptions) run(ctx context.Context, env *cli.Env, refs []string) error {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return err
	}
	force := o.Force
	if o.All {
		images, err := e.Images.List(ctx, img.ListOptions{})
		if err != nil && len(images) == 0 {
			return err
		}
		for _, im := range images {
			if !im.ReadOnly {
				refs = append(refs, im.ID)
			}
		}
		force = true
	}
	return env.Each(refs, cli.RemoveCode, func(ref string) error {
		how := img.RemoveOptions{Force: force, KeepParents: o.NoPrune}
		removed, err := e.Images.Remove(ctx, ref, how)
		var inUse *img.InUseError
		if o.Force && errors.As(err, &inUse) && removeUsers(ctx, env, inUse.Containers) == nil {
			removed, err = e.Images.Remove(ctx, ref, how)
		}
		if errdefs.IsNotFound(err) && (o.Ignore || o.Force || o.All) {
			return nil
		}
		if err != nil {
			if errdefs.IsNotFound(err) {
				return absent(ctx, e.Images, ref, err)
			}
			containers, _ := e.Images.RootfsContainers(ctx) // for names only
			return removeHint(ref, err, containers)
		}
		return writeRemoved(env.Out, removed)
	})
}

// removeUsers removes the containers that keep an image, if all of them are the
// command line's own.
func removeUsers(ctx context.Context, env *cli.Env, ids []string) error {
	e, err := env.Change(ctx, cli.Containers)
	if err != nil {
		return err
	}
	for _, id := range ids {
		k, err := e.Containers.Get(ctx, id)
		if err != nil {
			return err
		}
		if k.Config.Owner != record.OwnerCLI {
			return errdefs.ErrFailedPrecondition
		}
	}
	for _, id := range ids {
		if err := e.Pods.RemoveContainer(ctx, id, ctr.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func writeRemoved(w io.Writer, r img.Removed) error {
	var b strings.Builder
	for _, name := range r.Untagged {
		fmt.Fprintf(&b, "Untagged: %s\n", name)
	}
	for _, id := range r.Deleted {
		fmt.Fprintf(&b, "Deleted: %s\n", id)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// removeHint says what to do about an image that cannot be removed, and names
// the containers that keep it as people know them.
func removeHint(ref string, err error, containers []img.Rootfs) error {
	var inUse *img.InUseError
	switch {
	case errors.As(err, &inUse) && len(inUse.Containers) > 0:
		return inUseHint(ref, err, inUse.Containers, containers)
	case errdefs.IsFailedPrecondition(err):
		return cli.WithHint(err, "davit rmi --force %s removes it with all its names", ref)
	}
	return err
}

func inUseHint(ref string, err error, users []string, containers []img.Rootfs) error {
	var ours, others []string
	for _, id := range users {
		name := cli.ShortID(id, false)
		i := slices.IndexFunc(containers, func(c img.Rootfs) bool { return c.ID == id })
		if i >= 0 && !containers[i].Ours {
			others = append(others, name)
			continue
		}
		if i >= 0 && containers[i].Name != "" {
			name = containers[i].Name
		}
		ours = append(ours, name)
	}
	words := fmt.Sprintf("image %q is in use by %s", ref, strings.Join(append(ours, others...), ", "))
	hint := "davit rm " + strings.Join(ours, " ") + ", or davit rmi --force " + ref
	if len(ours) == 0 {
		hint = "another program made these containers: podman ps --all --external shows them"
	}
	return &cli.UsageError{Err: cli.Reworded(err, words), Hint: hint}
}
