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
		removed, err := o.remove(ctx, env, e, ref, img.RemoveOptions{Force: force, KeepParents: o.NoPrune})
		if errdefs.IsNotFound(err) {
			if o.Ignore || o.Force || o.All {
				return nil
			}
			return absent(ctx, e.Images, ref, err)
		}
		if err != nil {
			return err
		}
		return writeRemoved(env.Out, removed)
	})
}

// remove removes one image; with --force after the containers that were made of
// it, if all of them are the command line's own.
func (o removeOptions) remove(ctx context.Context, env *cli.Env, e *cli.Engine, ref string, how img.RemoveOptions) (img.Removed, error) {
	removed, err := e.Images.Remove(ctx, ref, how)
	var inUse *img.InUseError
	if !errors.As(err, &inUse) {
		return removed, removeHint(ref, err)
	}
	u, unread := usersOf(ctx, env, e, inUse.Containers)
	switch {
	case !o.Force || !u.removable():
		return removed, u.hint(ref, err)
	case unread != nil: // whose they are is not known
		return removed, fmt.Errorf("reading the containers of image %q: %w", ref, unread)
	}
	if err := removeUsers(ctx, env, inUse.Containers); err != nil {
		return removed, fmt.Errorf("removing the containers of image %q: %w", ref, err)
	}
	removed, err = e.Images.Remove(ctx, ref, how)
	return removed, removeHint(ref, err)
}

// users are the names of the containers that keep an image.
type users struct {
	ours, kubelet []string
	others        []string // of other programs
}

// usersOf finds whose the containers are that keep an image. Those that cannot be
// read are named with ours, beside the error.
func usersOf(ctx context.Context, env *cli.Env, e *cli.Engine, ids []string) (users, error) {
	roots, err := e.Images.RootfsContainers(ctx)
	errs := []error{err}
	known := map[string]ctr.Container{}
	e, err = env.Engine(ctx, cli.Containers)
	if err != nil {
		return sortUsers(ids, roots, known), err
	}
	for _, id := range ids {
		c, err := e.Containers.Get(ctx, id)
		switch {
		case err == nil:
			known[id] = c
		case !errdefs.IsNotFound(err): // that one is not ours, or gone by now
			errs = append(errs, err)
		}
	}
	return sortUsers(ids, roots, known), errors.Join(errs...)
}

// sortUsers sorts the containers with some IDs by whose they are.
func sortUsers(ids []string, roots []img.Rootfs, known map[string]ctr.Container) (u users) {
	for _, id := range ids {
		name := cli.ShortID(id, false)
		i := slices.IndexFunc(roots, func(r img.Rootfs) bool { return r.ID == id })
		switch c, found := known[id]; {
		case found && c.Config.Owner == record.OwnerCRI:
			u.kubelet = append(u.kubelet, c.Config.Name)
		case found:
			u.ours = append(u.ours, c.Config.Name)
		case i >= 0 && !roots[i].Ours:
			u.others = append(u.others, name)
		case i >= 0 && roots[i].Name != "":
			u.ours = append(u.ours, roots[i].Name)
		default:
			u.ours = append(u.ours, name)
		}
	}
	return u
}

// removable tells whether --force removes all of them.
func (u users) removable() bool { return len(u.kubelet)+len(u.others) == 0 }

// hint says who keeps an image, and what to do about each.
func (u users) hint(ref string, err error) error {
	var who, how []string
	if len(u.ours) > 0 {
		who = append(who, u.ours...)
		how = append(how, "davit rm "+strings.Join(u.ours, " "))
	}
	for _, name := range u.kubelet {
		who = append(who, name+" (the kubelet's)")
	}
	if len(u.kubelet) > 0 {
		how = append(how, "kubectl removes the kubelet's containers, which would be made anew")
	}
	if len(u.others) > 0 {
		who = append(who, u.others...)
		how = append(how, "another program made "+strings.Join(u.others, ", ")+": podman ps --all --external shows them")
	}
	hint := strings.Join(how, "; ")
	if u.removable() {
		hint += ", or davit rmi --force " + ref
	}
	return &cli.UsageError{Err: cli.Reworded(err, fmt.Sprintf("image %q is in use by %s", ref, strings.Join(who, ", "))), Hint: hint}
}

// removeUsers removes the containers that keep an image.
func removeUsers(ctx context.Context, env *cli.Env, ids []string) error {
	e, err := env.Change(ctx, cli.Containers)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := e.Pods.RemoveContainer(ctx, id, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()}); err != nil && !errdefs.IsNotFound(err) {
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

// removeHint says what to do about an image that stays because of its names.
func removeHint(ref string, err error) error {
	if errors.Is(err, img.ErrSeveralNames) {
		return cli.WithHint(err, "davit rmi --force %s removes it with all its names", ref)
	}
	return err
}
