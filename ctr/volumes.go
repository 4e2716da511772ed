package ctr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/nspin"
	"github.com/davit-containers/davit/ctr/rootfs"
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

// mountVolume makes the volume of the n-th mount of a container ready, filled from the
// image if it is new, and returns the path of what is to be bound.
func (c *bundler) mountVolume(ctx context.Context, ctr Container, n int, root string) (string, error) {
	m := ctr.Config.Mounts[n]
	v, err := c.volume(ctx, ctr.Config, m)
	if err != nil {
		return "", err
	}
	path := v.Path
	switch {
	case m.Subpath != "": // what the image has there is not for the whole volume
		if path, err = pinSubpath(v, m, subpath(c.dir.RunDir(ctr.ID), n)); err != nil {
			return "", err
		}
	case !v.Populated && !m.NoCopy:
		err := c.o.Volumes.Populate(ctx, v.Name, func(path string) error {
			return AbsentOK(rootfs.CopyUp(ctx, root, m.Destination, path))
		})
		if err != nil {
			return "", fmt.Errorf("filling volume %q from the image: %w", v.Name, err)
		}
	}
	if m.Relabel != "" || !v.Populated {
		if err := c.o.Host.SELinux.Relabel(path, relabelling(ctr.Config), m.Relabel != "Z", true); err != nil {
			return "", fmt.Errorf("volume %q: %w", v.Name, err)
		}
	}
	return path, nil
}

// subpath is where the subpath of a volume is pinned for the n-th mount of a container
// with that run folder: other containers of the volume can put a link in its place at
// any moment, and the runtime goes by path.
func subpath(runDir string, n int) string {
	return filepath.Join(runDir, "subpath."+strconv.Itoa(n))
}

func pinSubpath(v volume.Volume, m spec.Mount, path string) (string, error) {
	if err := nspin.Unpin(path); err != nil {
		return "", err
	}
	err := rootfs.Pin(v.Path, m.Subpath, path)
	if errdefs.IsNotFound(err) {
		err = fmt.Errorf("there is no %q in it: %w", m.Subpath, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return "", fmt.Errorf("volume %q for %q: %w", v.Name, m.Destination, err)
	}
	return path, nil
}

// unpinSubpaths undoes what mountVolume has pinned for a container with that run
// folder.
func unpinSubpaths(cfg Config, runDir string) error {
	var errs []error
	for i, m := range cfg.Mounts {
		if m.Type == spec.MountVolume && m.Subpath != "" {
			errs = append(errs, nspin.Unpin(subpath(runDir, i)))
		}
	}
	return errors.Join(errs...)
}

// ErrImageMount is the class of an image that cannot be mounted into a container,
// beside that of the reason.
var ErrImageMount = errors.New("mounting an image")

func imageMountError(m spec.Mount, err error) error {
	return fmt.Errorf("%w %q at %q: %w", ErrImageMount, m.Source, m.Destination, err)
}

// imageMountID names the root filesystem that stands for the n-th mount of a
// container: one of its own, so that the image stays while the container does,
// and that undoing finds it from the record.
func imageMountID(id string, n int) string {
	sum := sha256.Sum256([]byte(id + "/image/" + strconv.Itoa(n)))
	return hex.EncodeToString(sum[:])
}

// resolveImageMounts fills in which images are to be mounted. They are local ones.
func (c *bundler) resolveImageMounts(ctx context.Context, cfg Config) (Config, error) {
	cfg.Mounts = slices.Clone(cfg.Mounts)
	for i, m := range cfg.Mounts {
		if m.Type != spec.MountImage {
			continue
		}
		images, err := c.o.Images(ctx)
		if err != nil {
			return cfg, err
		}
		image, err := images.ResolveAs(ctx, m.Source, cfg.match())
		if err != nil {
			return cfg, imageMountError(m, err)
		}
		cfg.Mounts[i].ImageID = image.ID
	}
	return cfg, nil
}

// createImageMounts makes a root filesystem for each image that is to be mounted.
func (c *bundler) createImageMounts(ctx context.Context, id string, cfg Config) error {
	for i, m := range cfg.Mounts {
		if m.Type != spec.MountImage {
			continue
		}
		images, err := c.o.Images(ctx)
		if err != nil {
			return err
		}
		_, err = images.CreateRootfs(ctx, img.RootfsConfig{
			ID: imageMountID(id, i), For: id, Image: m.ImageID, Name: cfg.Name, Volatile: cfg.volatile(),
			MountLabel: cfg.Security.SELinux.MountLabel,
		})
		if err != nil {
			return imageMountError(m, err)
		}
	}
	return nil
}

// mountImage mounts the image of the n-th mount and returns the path of what the
// container gets of it. Nothing but the container's read-only view of it is ever
// given away, and what is below is a layer of its own: the image is safe.
func (c *bundler) mountImage(ctx context.Context, ctr Container, n int) (string, error) {
	m := ctr.Config.Mounts[n]
	images, err := c.o.Images(ctx)
	if err != nil {
		return "", err
	}
	path, err := images.MountRootfs(ctx, imageMountID(ctr.ID, n))
	if err != nil {
		return "", imageMountError(m, err)
	}
	if m.Subpath == "" {
		return path, nil
	}
	if path, err = rootfs.Within(path, m.Subpath); err != nil {
		return "", imageMountError(m, err)
	}
	return path, nil
}

// eachImageMount calls f with the root filesystem of each image that a container
// has mounted, all of them, and joins the errors. What is absent is no error.
func eachImageMount(ctr Container, f func(id string) error) error {
	var errs []error
	for i, m := range ctr.Config.Mounts {
		if m.Type != spec.MountImage {
			continue
		}
		if err := AbsentOK(f(imageMountID(ctr.ID, i))); err != nil {
			errs = append(errs, imageMountError(m, err))
		}
	}
	return errors.Join(errs...)
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
