package img

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"go.podman.io/storage"

	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/img/frozen"
	"github.com/davit-containers/davit/img/reserve"
	"github.com/davit-containers/davit/img/whole"
)

// RemoveOptions say how far a removal goes.
type RemoveOptions struct {
	// Force removes an image with all its names, whichever of them was given.
	// It does not help against containers: their owner removes them first.
	Force bool
	// KeepParents leaves the images without a name that only this one was
	// built on.
	KeepParents bool
}

// Removed is what a removal did.
type Removed struct {
	Untagged []string `json:"untagged"` // names
	Deleted  []string `json:"deleted"`  // images' IDs, the one asked for first
}

// Remove takes away a name, and the image with it if that was the last one. An
// image that is given by its ID or digest goes with its one name; with several
// it stays and ErrSeveralNames, an ErrFailedPrecondition, is returned, unless forced. It returns
// ErrNotFound, and *InUseError while a container has the image.
func (s *Store) Remove(ctx context.Context, ref string, o RemoveOptions) (Removed, error) {
	im, name, err := s.find(ctx, ref)
	if err != nil {
		return Removed{}, err
	}
	if f, ok := s.storage().(frozen.Store); ok {
		return Removed{}, fmt.Errorf("removing image %q: %w", ref, f.Refuse())
	}
	if im.ReadOnly {
		return Removed{}, fmt.Errorf("image %q: it is in a read-only store: %w", ref, errdefs.ErrFailedPrecondition)
	}
	byName := slices.Contains(im.Names, name)
	if len(im.Names) > 1 && !o.Force {
		if !byName {
			return Removed{}, &classified{
				msg:   fmt.Sprintf("image %q has several names (%s): remove them by name, or all by force", ref, strings.Join(im.Names, ", ")),
				class: []error{ErrSeveralNames, errdefs.ErrFailedPrecondition},
			}
		}
		if err := s.storage().RemoveNames(im.ID, []string{name}); err != nil {
			return Removed{}, fmt.Errorf("removing the name %q: %w", name, err)
		}
		return Removed{Untagged: []string{name}}, s.intake.persist()
	}
	out := Removed{Untagged: im.Names}
	before, err := s.parents()
	if err != nil {
		return Removed{}, err
	}
	if err := failpoint.Reach(ctx, failpoint.ImageDelete); err != nil {
		return Removed{}, err
	}
	if err := s.deleteImage(im.ID, ref); err != nil {
		return Removed{}, err
	}
	out.Deleted = []string{im.ID}
	if err := failpoint.Reach(ctx, failpoint.ImageDeleted); err != nil {
		return out, err
	}
	if !o.KeepParents {
		var more []string
		more, err = s.removeOrphans(ctx, before)
		out.Deleted = append(out.Deleted, more...)
	}
	return out, errors.Join(err, s.intake.persist())
}

// maxInUse is how often a removal that the store refuses begins again, where the
// container that was in its way is gone when it is looked for.
const maxInUse = 10

// deleteImage deletes an image and the layers that nothing else has.
func (r *records) deleteImage(id, ref string) error {
	own, err := layersBelow(r.storage(), id)
	if err != nil {
		return fmt.Errorf("removing image %q: %w", ref, err)
	}
	for n := 1; ; n++ {
		full := false // once
		err := deleting(r.storage(), func() error {
			_, err := r.storage().DeleteImage(id, true) // looks for containers under the store's locks
			full = full || reserve.IsFull(err)
			return err
		})
		if full && isNoImage(err) { // the first time the image went, and its layers did not
			_, err = pruneSome(r.storage(), func(l *storage.Layer) bool { return own[l.ID] })
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, storage.ErrImageUsedByContainer):
			if users, uerr := r.users(id); uerr == nil && len(users) > 0 {
				return &InUseError{Image: ref, Containers: users}
			}
			if n == maxInUse {
				return &classified{msg: fmt.Sprintf("image %q is in use", ref), class: []error{errdefs.ErrFailedPrecondition}, cause: err}
			}
		case isNoImage(err): // by now
			return notFound(ref)
		default:
			return fmt.Errorf("removing image %q: %w", ref, err)
		}
	}
}

func isNoImage(err error) bool {
	return errors.Is(err, storage.ErrImageUnknown) || errors.Is(err, storage.ErrNotAnImage)
}

// layersBelow are the IDs of the layers of an image; none when there is no such image.
func layersBelow(store storage.Store, id string) (map[string]bool, error) {
	out := map[string]bool{}
	im, err := store.Image(id)
	if err != nil {
		if isNoImage(err) {
			err = nil
		}
		return out, err
	}
	layers, err := store.Layers()
	if err != nil {
		return nil, err
	}
	t := newTally(layers)
	for _, top := range append(im.MappedTopLayers, im.TopLayer) {
		t.below(top, func(l *storage.Layer) { out[l.ID] = true })
	}
	return out, nil
}

// users are the containers that have the image, as their root filesystem or
// mounted into it, sorted.
func (r *records) users(id string) ([]string, error) {
	all, err := r.storage().Containers()
	if err != nil {
		return nil, fmt.Errorf("reading storage containers: %w", err)
	}
	var out []string
	for i := range all {
		if all[i].ImageID == id {
			out = append(out, cmp.Or(rootfs(&all[i]).For, all[i].ID))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// parents are the IDs of the intermediate images.
func (r *records) parents() (map[string]bool, error) {
	stored, err := whole.Images(r.storage())
	if err != nil {
		return nil, err
	}
	return r.intermediates(stored)
}

// removeOrphans removes the images that were intermediate before and are not
// any more: nothing is built on them now. It returns their IDs.
func (c *core) removeOrphans(ctx context.Context, before map[string]bool) ([]string, error) {
	var removed []string
	for len(before) > 0 {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		after, err := c.parents()
		if err != nil {
			return removed, err
		}
		found := false
		for id := range before {
			if after[id] {
				continue
			}
			delete(before, id)
			im, err := c.byID(id)
			if err != nil || im == nil || im.ReadOnly || len(im.Names) > 0 {
				continue
			}
			if err := c.deleteImage(id, id); err != nil {
				continue // in use: it stays
			}
			removed, found = append(removed, id), true
		}
		if !found {
			return removed, nil
		}
	}
	return removed, nil
}
