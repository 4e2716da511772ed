package sound

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
)

// Options say how far to look.
type Options struct {
	// Deep reads the contents of all layers of images.
	Deep bool
	// MaxAge is how old a layer may be that neither an image nor a container has.
	MaxAge time.Duration
}

// Report is what is not as it should be.
type Report struct {
	// Layers are damaged layers by ID, with what is wrong. Images and Containers are
	// those that have one, or are damaged themselves.
	Layers, Images, Containers map[string][]string
	// Links are layers whose link, in the overlay driver's list of short names,
	// leads nowhere: nothing is lost.
	Links []Link
	// Unused are layers that neither an image nor a container has, Unknown folders
	// of layers that are on no record. Both by ID, sorted.
	Unused, Unknown []string
}

// Check looks at all that a store holds but for its read-only parts. It holds no
// lock of the store's for longer than it reads one layer.
func Check(ctx context.Context, store storage.Store, o Options) (Report, error) {
	r := Report{Layers: map[string][]string{}, Images: map[string][]string{}, Containers: map[string][]string{}}
	quick, err := store.Check(&storage.CheckOptions{
		LayerData: true, ImageData: true, ContainerData: true, LayerUnreferencedMaximumAge: &o.MaxAge,
	})
	if err != nil {
		return r, fmt.Errorf("checking the image store: %w", err)
	}
	r.take(quick)
	layers, err := store.Layers()
	if err != nil {
		return r, fmt.Errorf("reading layers: %w", err)
	}
	if err := r.files(store, layers); err != nil {
		return r, err
	}
	if o.Deep {
		for i := range layers {
			if l := &layers[i]; l.UncompressedDigest != "" && len(r.Layers[l.ID]) == 0 && !l.ReadOnly {
				if err := r.contents(ctx, store, l); err != nil {
					return r, err
				}
			}
		}
	}
	return r, r.spread(store, layers)
}

// take sorts what the library's own check has found.
func (r *Report) take(quick storage.CheckReport) {
	for id, errs := range quick.Layers {
		for _, err := range errs {
			switch {
			case errors.Is(err, storage.ErrLayerUnreferenced):
				r.Unused = append(r.Unused, id)
			case errors.Is(err, storage.ErrLayerUnaccounted):
				r.Unknown = append(r.Unknown, id)
			default:
				r.Layers[id] = append(r.Layers[id], plain(err))
			}
		}
	}
	own := func(errs []error) []string {
		var out []string
		for _, err := range errs {
			// What comes from a layer is found there, and said of all that have it.
			if !errors.Is(err, storage.ErrLayerUnreferenced) && !errors.Is(err, storage.ErrLayerMissing) && !errors.Is(err, storage.ErrLayerDataMissing) {
				out = append(out, plain(err))
			}
		}
		return out
	}
	for id, errs := range quick.Images {
		if said := own(errs); len(said) > 0 {
			r.Images[id] = said
		}
	}
	for id, errs := range quick.Containers {
		if said := own(errs); len(said) > 0 {
			r.Containers[id] = said
		}
	}
	slices.Sort(r.Unused)
	slices.Sort(r.Unknown)
}

// plain is an error of the library's, on one line.
func plain(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// spread says of images and containers what is wrong with their layers, and looks
// whether manifests and configurations are what their digests say.
func (r *Report) spread(store storage.Store, layers []storage.Layer) error {
	parent := map[string]string{}
	for i := range layers {
		parent[layers[i].ID] = layers[i].Parent
	}
	below := func(top string) []string {
		var out []string
		for id, n := top, 0; id != "" && n <= len(layers); id, n = parent[id], n+1 {
			for _, said := range r.Layers[id] {
				out = append(out, "layer "+short(id)+": "+said)
			}
		}
		return out
	}
	images, err := store.Images()
	if err != nil {
		return fmt.Errorf("reading images: %w", err)
	}
	for i := range images {
		im := &images[i]
		if im.ReadOnly {
			continue
		}
		said := append(below(im.TopLayer), badData(store, im)...)
		if len(said) > 0 {
			r.Images[im.ID] = append(r.Images[im.ID], said...)
		}
	}
	containers, err := store.Containers()
	if err != nil {
		return fmt.Errorf("reading storage containers: %w", err)
	}
	for i := range containers {
		if said := below(containers[i].LayerID); len(said) > 0 {
			r.Containers[containers[i].ID] = append(r.Containers[containers[i].ID], said...)
		}
	}
	return nil
}

// badData are those of an image's documents that are not what the digest in their
// name says: the library compares their sizes alone.
func badData(store storage.Store, im *storage.Image) []string {
	var out []string
	for _, key := range im.BigDataNames {
		want, err := digest.Parse(strings.TrimPrefix(key, storage.ImageDigestManifestBigDataNamePrefix+"-"))
		if err != nil {
			continue
		}
		data, err := store.ImageBigData(im.ID, key)
		if err != nil {
			continue // the library has said so
		}
		if want.Algorithm().FromBytes(data) != want {
			out = append(out, fmt.Sprintf("its document %s is of another content", key))
		}
	}
	return out
}

func short(id string) string { return id[:min(12, len(id))] }

// exists tells whether there is a file, following no link.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
