package img

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.podman.io/storage"

	"github.com/davit-containers/davit/img/whole"
)

// ListOptions say which images to list.
type ListOptions struct {
	// All adds the intermediate images: those without a name that others are
	// built on.
	All bool
	// Annotations adds those of the manifests, which takes another file of each.
	Annotations bool
	// Brief leaves out what only the images' configs tell: Config, OS,
	// Architecture, Variant, Author and Comment. It reads no file of an image.
	Brief bool
}

// List lists the images, the newest first. Images that cannot be read are
// listed with what is known of them, and joined in the error.
func (s *Store) List(ctx context.Context, o ListOptions) ([]Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stored, err := whole.Images(s.storage())
	if err != nil {
		return nil, err
	}
	between, err := s.intermediates(stored)
	if err != nil {
		return nil, err
	}
	var (
		out  = make([]Image, 0, len(stored))
		seen = map[string]bool{}
		errs []error
	)
	for i := range stored {
		if seen[stored[i].ID] { // in an additional store as well
			continue
		}
		seen[stored[i].ID] = true
		if between[stored[i].ID] && !o.All {
			continue
		}
		describe := s.outline
		if !o.Brief {
			describe = func(im *storage.Image) (Image, error) { return s.describe(im, o.Annotations) }
		}
		im, err := describe(&stored[i])
		if err != nil {
			errs = append(errs, err)
		}
		im.Intermediate = between[im.ID]
		out = append(out, im)
	}
	slices.SortStableFunc(out, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, errors.Join(errs...)
}

// intermediates are the IDs of the images without a name whose top layer lies
// below another image's. It also keeps the sizes of all layers, which were read
// for it.
func (r *records) intermediates(images []storage.Image) (map[string]bool, error) {
	if len(images) == 0 {
		return nil, nil
	}
	layers, err := r.storage().Layers()
	if err != nil {
		return nil, fmt.Errorf("reading layers: %w", err)
	}
	index := make(map[string]*storage.Layer, len(layers))
	for i := range layers {
		index[layers[i].ID] = &layers[i]
	}
	below := map[string]bool{} // layers that have one of an image's above them
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range images {
		r.sumLayers(images[i].TopLayer, index)
		top := index[images[i].TopLayer]
		if top == nil {
			continue
		}
		for l := index[top.Parent]; l != nil && !below[l.ID]; l = index[l.Parent] {
			below[l.ID] = true
		}
	}
	out := map[string]bool{}
	for i := range images {
		if len(images[i].Names) == 0 && below[images[i].TopLayer] {
			out[images[i].ID] = true
		}
	}
	return out, nil
}
