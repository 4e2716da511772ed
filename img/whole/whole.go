package whole

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/lockfile"
)

// note is the flag of an image that was made by a Store.
const note = "davit-made"

// Is says whether an image has all the documents that it is to have.
func Is(im *storage.Image) bool {
	if _, noted := im.Flags[note]; !noted || len(im.Names) > 0 { // the last thing that it gets is its name
		return true
	}
	return !slices.ContainsFunc(documents(im), func(key string) bool { return !slices.Contains(im.BigDataNames, key) })
}

// documents are the keys of an image's manifest, which comes after its config, and of
// its signatures, which come last.
func documents(im *storage.Image) []string {
	out := []string{storage.ImageDigestBigDataKey}
	// As go.podman.io/image/v5/storage writes it down.
	var metadata struct {
		Sizes   []int                   `json:"signature-sizes"`
		SizesOf map[digest.Digest][]int `json:"signatures-sizes"`
	}
	if json.Unmarshal([]byte(im.Metadata), &metadata) != nil {
		return out // it is of another program
	}
	if len(metadata.Sizes) > 0 {
		out = append(out, "signatures")
	}
	for d, sizes := range metadata.SizesOf {
		if len(sizes) > 0 && d.Validate() == nil {
			out = append(out, "signature-"+d.Encoded())
		}
	}
	return out
}

// Store is a store that notes on the images made in it that they may be cut short.
type Store struct{ storage.Store }

// CreateImage implements storage.Store. An image of this ID and of these layers that is
// not whole is given the documents and the metadata instead.
func (s Store) CreateImage(id string, names []string, layer, metadata string, o *storage.ImageOptions) (*storage.Image, error) {
	if o == nil || len(o.BigData) == 0 {
		return s.Store.CreateImage(id, names, layer, metadata, o)
	}
	noted := *o
	noted.Flags = maps.Clone(o.Flags)
	if noted.Flags == nil {
		noted.Flags = map[string]any{}
	}
	noted.Flags[note] = true
	im, err := s.Store.CreateImage(id, names, layer, metadata, &noted)
	if !errors.Is(err, storage.ErrDuplicateID) {
		return im, err
	}
	var done *storage.Image
	if lerr := locked(s, func() (err error) {
		done, err = s.complete(id, layer, o)
		return err
	}); lerr != nil {
		return nil, lerr
	}
	if done == nil {
		return nil, err
	}
	return done, nil
}

// complete gives an image that is not whole what it lacks; nil where there is none
// with these layers.
func (s Store) complete(id, layer string, o *storage.ImageOptions) (*storage.Image, error) {
	im, err := s.Image(id)
	if err != nil || !partial(im) || im.TopLayer != layer {
		return nil, ignoreUnknown(err)
	}
	for _, doc := range o.BigData {
		if err := s.SetImageBigData(id, doc.Key, doc.Data, func([]byte) (digest.Digest, error) { return doc.Digest, nil }); err != nil {
			return nil, fmt.Errorf("completing image %s: %w", id, err)
		}
	}
	if o.Metadata != "" {
		if err := s.SetMetadata(id, o.Metadata); err != nil {
			return nil, fmt.Errorf("completing image %s: %w", id, err)
		}
	}
	return s.Image(id)
}

// Images lists the images that are whole.
func Images(st storage.Store) ([]storage.Image, error) { return images(st, Is) }

func images(st storage.Store, keep func(*storage.Image) bool) ([]storage.Image, error) {
	all, err := st.Images()
	if err != nil {
		return nil, fmt.Errorf("reading images: %w", err)
	}
	return slices.DeleteFunc(all, func(im storage.Image) bool { return !keep(&im) }), nil
}

// ByDigest lists the images that are whole and have a manifest of this digest.
func ByDigest(st storage.Store, d digest.Digest) ([]*storage.Image, error) {
	all, err := st.ImagesByDigest(d)
	return slices.DeleteFunc(all, func(im *storage.Image) bool { return !Is(im) }), ignoreUnknown(err)
}

// Left lists the images that are not whole. One may be just being completed; none is
// just being made, for the store is locked meanwhile.
func Left(st storage.Store) ([]storage.Image, error) { return images(st, partial) }

func partial(im *storage.Image) bool { return !im.ReadOnly && !Is(im) }

// Sweep has those images removed that are not whole, while nobody completes one.
func Sweep(st storage.Store, remove func(id string) error) error {
	left, err := Left(st)
	if err != nil || len(left) == 0 {
		return err
	}
	return locked(st, func() error {
		var errs []error
		for i := range left {
			// It may have been completed meanwhile.
			if im, err := st.Image(left[i].ID); err == nil && partial(im) {
				errs = append(errs, remove(im.ID))
			}
		}
		return errors.Join(errs...)
	})
}

// locked calls do while no other process completes or removes an image.
func locked(st storage.Store, do func() error) error {
	lock, err := lockfile.GetLockFile(filepath.Join(st.RunRoot(), "davit-images.lock"))
	if err != nil {
		return fmt.Errorf("locking images that are not whole: %w", err)
	}
	lock.Lock()
	defer lock.Unlock()
	return do()
}

func ignoreUnknown(err error) error {
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil
	}
	return err
}
