package ctr

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/ctr/volume"
	"github.com/davit-containers/davit/img"
)

// nameVolumes gives each of the image's VOLUMEs that nothing is mounted on an
// anonymous volume, and each anonymous volume a name. It makes nothing.
func nameVolumes(cfg Config, image img.ImageConfig) Config {
	cfg.Mounts = slices.Clone(cfg.Mounts)
	for _, path := range image.Volumes {
		if !slices.ContainsFunc(cfg.Mounts, func(m spec.Mount) bool { return m.Destination == path }) {
			cfg.Mounts = append(cfg.Mounts, spec.Mount{Type: spec.MountVolume, Destination: path})
		}
	}
	for i, m := range cfg.Mounts {
		if m.Type == spec.MountVolume && m.Source == "" {
			cfg.Mounts[i].Source = NewID()
			cfg.Anonymous = append(cfg.Anonymous, cfg.Mounts[i].Source)
		}
	}
	return cfg
}

// ensureVolumes makes the volumes that a container names and are not there.
func (c *bundler) ensureVolumes(ctx context.Context, cfg Config) error {
	for _, m := range cfg.Mounts {
		if m.Type != spec.MountVolume {
			continue
		}
		if _, err := c.volume(ctx, cfg, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *bundler) volume(ctx context.Context, cfg Config, m spec.Mount) (volume.Volume, error) {
	v, err := c.o.Volumes.Ensure(ctx, volume.Config{
		Name: m.Source, Anonymous: slices.Contains(cfg.Anonymous, m.Source),
	})
	if err != nil {
		return v, fmt.Errorf("volume %q for %q: %w", m.Source, m.Destination, err)
	}
	return v, nil
}

// removeAnonymous deletes the anonymous volumes of a container that no other one
// has taken over.
func (c *settler) removeAnonymous(ctx context.Context, ctr Container) error {
	users := func(name string) ([]string, error) {
		all, err := c.List(ctx)
		var names []string
		for _, other := range all {
			mounts := func(m spec.Mount) bool { return m.Type == spec.MountVolume && m.Source == name }
			if other.ID != ctr.ID && slices.ContainsFunc(other.Config.Mounts, mounts) {
				names = append(names, other.Config.Name)
			}
		}
		return names, err
	}
	var steps []func() error
	for _, name := range ctr.Config.Anonymous {
		steps = append(steps, func() error {
			err := c.o.Volumes.RemoveUnused(ctx, name, users)
			var inUse *volume.InUseError
			if errors.As(err, &inUse) {
				return nil
			}
			return AbsentOK(err)
		})
	}
	return Undo(steps...)
}
