package whole

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/lockfile"
)

// note is the flag of an image that names, with spaces between, the documents it is to
// have.
const note = "davit-documents"

// Is says whether an image has all the documents that it is to have.
func Is(im *storage.Image) bool {
	keys, _ := im.Flags[note].(string)
	for key := range strings.FieldsSeq(keys) {
		if !slices.Contains(im.BigDataNames, key) {
			return false
		}
	}
	return true
}

// Store is a store that notes on the images made in it what they are to have.
type Store struct{ storage.Store }

// CreateImage implements storage.Store. An image of this ID that is not whole is
// completed.
func (s Store) CreateImage(id string, names []string, layer, metadata string, o *storage.ImageOptions) (*storage.Image, error) {
	if o == nil || len(o.BigData) == 0 {
		return s.Store.CreateImage(id, names, layer, metadata, o)
	}
	noted := *o
	keys := make([]string, len(o.BigData))
	for i := range o.BigData {
		keys[i] = o.BigData[i].Key
	}
	noted.Flags = maps.Clone(o.Flags)
	if noted.Flags == nil {
		noted.Flags = map[string]any{}
	}
	noted.Flags[note] = strings.Join(keys, " ")
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
	if err != nil || Is(im) || im.ReadOnly || im.TopLayer != layer {
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
func Images(st storage.Store) ([]storage.Image, error) {
	all, err := st.Images()
	if err != nil {
		return nil, fmt.Errorf("reading images: %w", err)
	}
	return slices.DeleteFunc(all, func(im storage.Image) bool { return !Is(&im) }), nil
}

// ByDigest lists the images that are whole and have a manifest of this digest.
func ByDigest(st storage.Store, d digest.Digest) ([]*storage.Image, error) {
	all, err := st.ImagesByDigest(d)
	return slices.DeleteFunc(all, func(im *storage.Image) bool { return !Is(im) }), ignoreUnknown(err)
}

// Left lists the IDs of the images that are not whole. None of them is being made: the
// store is locked while an image gets its documents.
func Left(st storage.Store) ([]string, error) {
	all, err := st.Images()
	if err != nil {
		return nil, fmt.Errorf("reading images: %w", err)
	}
	var out []string
	for i := range all {
		if !all[i].ReadOnly && !Is(&all[i]) {
			out = append(out, all[i].ID)
		}
	}
	return out, nil
}

// Sweep has those images removed that are not whole, while nobody completes one.
func Sweep(st storage.Store, remove func(id string) error) error {
	if left, err := Left(st); err != nil || len(left) == 0 {
		return err
	}
	return locked(st, func() error {
		left, err := Left(st)
		for _, id := range left {
			err = errors.Join(err, remove(id))
		}
		return err
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
