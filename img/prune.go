package img

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/storage"

	"github.com/davit-containers/davit/img/trial"
	"github.com/davit-containers/davit/img/whole"
)

// orphanAge is how old a layer that no image has must be before a prune takes
// it. A pull that is under way has such layers, and one that was cancelled and
// is tried again uses them.
const orphanAge = 24 * time.Hour

// PruneOptions say which images to prune.
type PruneOptions struct {
	// All takes every image that no container uses; else only those without a
	// name.
	All bool
	// Keep, if set, spares the images for which it answers true.
	Keep func(Image) bool
	// DryRun only says what would go.
	DryRun bool
}

// Pruned is what a prune did.
type Pruned struct {
	Images    []Image `json:"images"`    // those that went
	Reclaimed int64   `json:"reclaimed"` // bytes, as recorded
}

// Prune removes images that nothing uses, and what interrupted pulls have left
// behind. It goes on after an image that it cannot remove, and joins the errors.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	before, err := s.Usage(ctx)
	if err != nil {
		return Pruned{}, err
	}
	var (
		out  Pruned
		errs []error
		done = map[string]bool{}
	)
	// Removing an image may leave another one without images on top of it.
	for more := true; more; {
		more = false
		list, err := s.List(ctx, ListOptions{})
		if len(list) == 0 && err != nil {
			return out, err
		}
		for _, im := range list {
			if done[im.ID] || im.ReadOnly || !im.Dangling() && !o.All || o.Keep != nil && o.Keep(im) {
				continue
			}
			done[im.ID] = true
			gone, err := s.pruneOne(ctx, im, o.DryRun)
			if err != nil {
				errs = append(errs, err)
			}
			if gone {
				out.Images = append(out.Images, im)
				more = !o.DryRun
			}
		}
	}
	if o.DryRun {
		for _, im := range out.Images {
			out.Reclaimed += uniqueOf(before, im.ID)
		}
		return out, errors.Join(errs...)
	}
	errs = append(errs, s.sweepPartial())
	after, err := s.Usage(ctx)
	errs = append(errs, err, s.intake.persist())
	out.Reclaimed = max(before.Size-after.Size, 0)
	orphans, err := s.pruneLayers(time.Now().Add(-orphanAge))
	out.Reclaimed += orphans
	sweepLeft(s.core)
	return out, errors.Join(append(errs, err)...)
}

// Sweep removes what processes that were killed, and a loss of power, have left in
// the store: files of layers, images and containers that are on no record, images
// that are not whole, blobs of transfers, what a storage driver tried out, and layers
// that for a day nothing has used. What others are at work on has its locks or its
// records, and stays.
func (s *Store) Sweep(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	errs := []error{trial.Sweep(s.storage().GraphRoot()), s.sweepPartial()}
	if err := s.storage().GarbageCollect(); err != nil {
		errs = append(errs, fmt.Errorf("sweeping the image store: %w", err))
	}
	_, err := s.pruneLayers(time.Now().Add(-orphanAge))
	sweepLeft(s.core)
	return errors.Join(append(errs, err)...)
}

// sweepPartial removes the images that are not whole.
func (r *Roots) sweepPartial() error {
	return whole.Sweep(r.storage(), func(id string) error { return absentOK(r.deleteImage(id, id)) })
}

// sweepLeft removes what transfers, and processes that were writing the store's
// records, have left that were killed.
func sweepLeft(c *core) {
	sweepTemp(tempBase(c), time.Now().Add(-staleTemp))
	for _, path := range recordFiles(c.storage().GraphRoot(), ".tmp-*.json*") {
		_ = locked(recordsLock(path), func() error { return os.Remove(path) }) // nobody writes one meanwhile
	}
}

// pruneOne removes an image that no container uses, and says whether it did.
func (r *records) pruneOne(ctx context.Context, im Image, dryRun bool) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if dryRun {
		users, err := r.users(im.ID)
		return err == nil && len(users) == 0, err
	}
	err := r.deleteImage(im.ID, im.ID)
	var inUse *InUseError
	if errors.As(err, &inUse) || errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func uniqueOf(u Usage, id string) int64 {
	for _, im := range u.Images {
		if im.ID == id {
			return im.Unique
		}
	}
	return 0
}

// pruneLayers removes the layers made before a time that neither an image nor a
// container has, and returns their bytes.
func (r *records) pruneLayers(before time.Time) (int64, error) {
	return pruneSome(r.storage(), func(l *storage.Layer) bool { return l.Created.Before(before) })
}

// pruneSome removes those of the layers that neither an image nor a container has
// for which take answers true, and nothing that others lie on.
func pruneSome(store storage.Store, take func(*storage.Layer) bool) (int64, error) {
	layers, err := store.Layers()
	if err != nil {
		return 0, fmt.Errorf("reading layers: %w", err)
	}
	used, err := layersInUse(store, layers)
	if err != nil {
		return 0, err
	}
	t := newTally(layers)
	keep := func(l *storage.Layer) { used[l.ID] = true }
	for _, l := range t.layers {
		if l.ReadOnly || l.MountCount > 0 || !take(l) {
			t.below(l.ID, keep) // it, and what it lies on
		}
	}
	var (
		freed int64
		errs  []error
	)
	for _, l := range topDown(t, used) {
		err := deleting(store, func() error { return store.DeleteLayer(l.ID) })
		if errors.Is(err, storage.ErrLayerUnknown) || errors.Is(err, storage.ErrNotALayer) { // by now
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("removing layer %s: %w", l.ID, err))
			continue
		}
		freed += max(l.UncompressedSize, 0)
	}
	return freed, errors.Join(errs...)
}

// layersInUse are those that images and containers have.
func layersInUse(store storage.Store, layers []storage.Layer) (map[string]bool, error) {
	images, err := store.Images()
	if err != nil {
		return nil, fmt.Errorf("reading images: %w", err)
	}
	containers, err := store.Containers()
	if err != nil {
		return nil, fmt.Errorf("reading storage containers: %w", err)
	}
	t, used := newTally(layers), map[string]bool{}
	keep := func(l *storage.Layer) { used[l.ID] = true }
	for i := range images {
		t.below(images[i].TopLayer, keep)
		for _, top := range images[i].MappedTopLayers {
			t.below(top, keep)
		}
	}
	for i := range containers {
		t.below(containers[i].LayerID, keep)
	}
	return used, nil
}

// topDown are the layers that are not used, each before the one it lies on.
func topDown(t *tally, used map[string]bool) []*storage.Layer {
	children := map[string]int{}
	for _, l := range t.layers {
		children[l.Parent]++
	}
	var out, next []*storage.Layer
	for _, l := range t.layers {
		if !used[l.ID] && children[l.ID] == 0 {
			next = append(next, l)
		}
	}
	for len(next) > 0 {
		l := next[0]
		next = next[1:]
		out = append(out, l)
		p := t.layers[l.Parent]
		if p == nil {
			continue
		}
		if children[p.ID]--; children[p.ID] == 0 && !used[p.ID] {
			next = append(next, p)
		}
	}
	return out
}
