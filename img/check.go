package img

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/storage"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img/sound"
	"github.com/davit-containers/davit/img/trial"
	"github.com/davit-containers/davit/img/whole"
)

// CheckOptions say how far Check looks.
type CheckOptions struct {
	// Deep reads the contents of all images.
	Deep bool
	// MaxAge is how old a layer may be that nothing uses; 0 is a day.
	MaxAge time.Duration
	// Owners tell of containers what they may have.
	Owners record.Owners
	// RemoveContainer removes one of davit's with all that it has; ErrNotFound for
	// one that is none.
	RemoveContainer func(ctx context.Context, id string) error
}

// Check finds what is not sound in the store: images with records, layers or
// contents that are damaged, layers that nothing uses, root filesystems of davit's
// whose container is gone, or that are mounted while it does not run. What other
// programs made on the same store is theirs, and is told of only where it keeps an
// image of all from being repaired.
func (r *Roots) Check(ctx context.Context, o CheckOptions) ([]record.Finding, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return (&audit{*r}).check(ctx, o)
}

// audit is one run of Check.
type audit struct{ Roots }

func (s *audit) check(ctx context.Context, o CheckOptions) ([]record.Finding, error) {
	o.MaxAge = cmp.Or(o.MaxAge, orphanAge)
	roots, err := s.checkRoots(ctx, o.Owners)
	if err != nil {
		return nil, err
	}
	r, err := sound.Check(ctx, s.storage(), sound.Options{Deep: o.Deep, MaxAge: o.MaxAge})
	if err != nil {
		return roots, err
	}
	list, err := s.checkTrials()
	if err != nil {
		return roots, err
	}
	partial, err := whole.Left(s.storage())
	if err != nil {
		return roots, err
	}
	for i := range partial {
		list = append(list, record.Finding{
			Kind: "image", Object: "image " + partial[i].ID, Problem: "a pull that was killed has left it without some of its documents", Repair: "remove it",
			Mend: func(context.Context) error { return s.sweepPartial() },
		})
	}
	list = append(roots, append(list, s.checkImages(r, o)...)...)
	for _, l := range r.Links {
		list = append(list, record.Finding{
			Kind: "layer", Object: "layer " + l.Layer, Problem: fmt.Sprintf("its link %s leads nowhere", l.Path), Repair: "link it again",
			Mend: func(context.Context) error { return l.Mend() },
		})
	}
	for _, id := range r.Unused {
		list = append(list, record.Finding{
			Kind: "layer", Object: "layer " + id, Problem: "no image and no container has it", Repair: "remove it",
			Mend: func(context.Context) error {
				_, err := s.pruneLayers(time.Now().Add(-o.MaxAge))
				return err
			},
		})
	}
	for _, id := range r.Unknown {
		if trial.Is(id) { // or one is under way
			continue
		}
		list = append(list, record.Finding{
			Kind: "layer", Object: "folder of layer " + id, Problem: "there is no such layer", Repair: "remove it",
			Mend: func(context.Context) error { return s.storage().GarbageCollect() },
		})
	}
	return list, nil
}

// checkTrials tells of what a storage driver has left that was killed as it tried out
// what the kernel can.
func (s *audit) checkTrials() ([]record.Finding, error) {
	left, err := trial.Left(s.storage().GraphRoot())
	var list []record.Finding
	for _, name := range left {
		list = append(list, record.Finding{
			Kind: "layer", Object: "folder " + name, Problem: "a storage driver that was killed as it tried the kernel out has left it",
			Repair: "unmount what is mounted there and remove it",
			Mend:   func(context.Context) error { return trial.Sweep(s.storage().GraphRoot()) },
		})
	}
	return list, err
}

// checkImages tells of damaged images, of damaged layers that are in none, and of
// damaged root filesystems of davit's.
func (s *audit) checkImages(r sound.Report, o CheckOptions) []record.Finding {
	var list []record.Finding
	for _, id := range slices.Sorted(maps.Keys(r.Images)) {
		f := record.Finding{
			Kind: "image", Object: "image " + id, Problem: strings.Join(r.Images[id], "; "), Repair: "remove it, for it to be pulled again",
			Mend: func(context.Context) error { return s.removeDamaged(id) },
		}
		if im, err := s.byID(id); err == nil && im != nil && len(im.Names) > 0 {
			f.Object = fmt.Sprintf("image %s (%s)", im.Names[0], id)
		}
		if users, err := s.users(id); err == nil && len(users) > 0 {
			f.Repair, f.Loses = fmt.Sprintf("remove it and its containers (%s)", strings.Join(users, ", ")), true
			f.Mend = func(ctx context.Context) error {
				for _, id := range users {
					if err := o.RemoveContainer(ctx, id); err != nil {
						return err
					}
				}
				return s.removeDamaged(id)
			}
		}
		list = append(list, f)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Containers)) {
		c, err := s.storage().Container(id)
		if err != nil {
			continue
		}
		if of := rootfs(c); of.Ours {
			list = append(list, record.Finding{
				Kind: "rootfs", Object: "container " + cmp.Or(of.For, of.ID), Problem: strings.Join(r.Containers[id], "; "),
				Repair: "remove the container", Loses: true,
				Mend: func(ctx context.Context) error { return absentOK(o.RemoveContainer(ctx, cmp.Or(of.For, of.ID))) },
			})
		}
	}
	return append(list, s.checkLoose(r)...)
}

// checkLoose tells of damaged layers that no image and no container has.
func (s *audit) checkLoose(r sound.Report) []record.Finding {
	var list []record.Finding
	for _, id := range slices.Sorted(maps.Keys(r.Layers)) {
		if used, err := s.layerUsed(id); err != nil || used {
			continue
		}
		list = append(list, record.Finding{
			Kind: "layer", Object: "layer " + id, Problem: strings.Join(r.Layers[id], "; "), Repair: "remove it",
			Mend: func(context.Context) error {
				if used, err := s.layerUsed(id); err != nil || used {
					return err
				}
				err := deleting(s.storage(), func() error { return s.storage().DeleteLayer(id) })
				if errors.Is(err, storage.ErrLayerUnknown) || errors.Is(err, storage.ErrNotALayer) {
					return nil
				}
				return err
			},
		})
	}
	return list
}

// layerUsed tells whether an image or a container has a layer, or another lies on
// it. One that is not there is used by nobody.
func (s *audit) layerUsed(id string) (bool, error) {
	layers, err := s.storage().Layers()
	if err != nil {
		return true, fmt.Errorf("reading layers: %w", err)
	}
	used, err := layersInUse(s.storage(), layers)
	if err != nil {
		return true, err
	}
	onIt := func(l storage.Layer) bool { return l.Parent == id }
	return used[id] || slices.ContainsFunc(layers, onIt), nil
}

// removeDamaged removes an image that no container has; of a damaged one the
// store may miss layers.
func (s *audit) removeDamaged(id string) error {
	err := s.deleteImage(id, id)
	if _, gone := s.storage().Image(id); errors.Is(gone, storage.ErrImageUnknown) {
		err = nil
	}
	return errors.Join(err, s.intake.persist())
}

// checkRoots looks at the root filesystems of davit's.
func (s *audit) checkRoots(ctx context.Context, owners record.Owners) ([]record.Finding, error) {
	all, err := s.RootfsContainers(ctx)
	if err != nil {
		return nil, err
	}
	var list []record.Finding
	for _, root := range all {
		owner := cmp.Or(root.For, root.ID)
		if !root.Ours {
			continue
		}
		mounted := s.mountedRoot(root.ID)
		f := record.Finding{Kind: "rootfs", Object: fmt.Sprintf("root filesystem %s of container %q (%s)", root.ID, root.Name, owner)}
		var mend func(ctx context.Context) error
		switch use := owners.Use(owner); {
		case use == record.Gone && s.hasRootfs(root.ID):
			f.Problem, f.Repair = "there is no such container", "remove it"
			mend = func(ctx context.Context) error { return absentOK(s.DeleteRootfs(ctx, root.ID)) }
		case use == record.Idle && mounted && s.mountedRoot(root.ID):
			f.Problem, f.Repair = "it is mounted, and the container does not run", "unmount it"
			mend = func(ctx context.Context) error { return absentOK(s.UnmountRootfs(ctx, root.ID)) }
		default:
			continue
		}
		f.Mend = owners.Mend(owner, mend)
		list = append(list, f)
	}
	return list, nil
}

func (s *audit) hasRootfs(id string) bool {
	_, err := s.storage().Container(id)
	return err == nil
}

func (s *audit) mountedRoot(id string) bool {
	n, err := s.storage().Mounted(id)
	return err == nil && n > 0
}

func absentOK(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
