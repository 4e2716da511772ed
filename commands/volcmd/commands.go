package volcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/ctr/volume"
)

// Commands are the verbs about volumes.
func Commands(env *cli.Env) []*cobra.Command {
	return cli.InGroup(cli.GroupNetwork, cli.Make(env, cli.Verb{Name: "volume", New: newVolume})...)
}

func newVolume(env *cli.Env) *cobra.Command {
	return cli.Parent(&cobra.Command{
		Use:     "volume",
		Short:   "Work with volumes",
		Long:    "Work with volumes: folders that outlive the containers that mount them. A volume is made by\n'volume create', or when a container first names it in --volume NAME:/path.",
		Example: "  davit volume create data\n  davit run -v data:/srv docker.io/library/alpine ls /srv",
	},
		newCreate(env),
		newExists(env),
		newInspect(env),
		newList(env),
		newPrune(env),
		newRemove(env),
	)
}

// open opens the volumes, and what tells who uses them.
func open(ctx context.Context, env *cli.Env) (*cli.Engine, error) {
	return env.Engine(ctx, cli.Containers)
}

// users tells which containers mount a volume.
func users(ctx context.Context, e *cli.Engine) volume.Users {
	return func(name string) ([]string, error) {
		all, err := e.Containers.List(ctx)
		if err != nil {
			// Who cannot be read may be one who uses it.
			return nil, err
		}
		var out []string
		for _, c := range all {
			if mounts(c, name) {
				out = append(out, c.Config.Name)
			}
		}
		return out, nil
	}
}

func mounts(c ctr.Container, name string) bool {
	return slices.ContainsFunc(c.Config.Mounts, func(m spec.Mount) bool {
		return m.Type == spec.MountVolume && m.Source == name
	})
}

// find is the volume that the user means.
func find(e *cli.Engine, ref string) (volume.Volume, error) {
	v, err := e.Volumes.Resolve(ref)
	if !errdefs.IsNotFound(err) {
		return v, err
	}
	err = fmt.Errorf("no volume %q: %w", ref, errdefs.ErrNotFound)
	all, lerr := e.Volumes.List()
	if lerr != nil && len(all) == 0 {
		return v, err
	}
	var names []string
	for _, v := range all {
		names = append(names, v.Name)
	}
	if near := cli.Nearest(ref, names); near != "" {
		return v, cli.WithHint(err, "did you mean %q?", near)
	}
	return v, cli.WithHint(err, "davit volume ls lists the volumes")
}

// names completes the names of volumes.
func names(env *cli.Env) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) {
		e, err := open(ctx, env)
		if err != nil {
			return nil, err
		}
		all, err := e.Volumes.List()
		var out []string
		for _, v := range all {
			out = append(out, v.Name)
		}
		return out, err
	})
}

// removeHint says what to do about a volume that is in use.
func removeHint(name string, err error) error {
	var used *volume.InUseError
	if !errors.As(err, &used) {
		return err
	}
	return cli.WithHint(err, "davit volume rm --force %s removes the containers, too", name)
}
