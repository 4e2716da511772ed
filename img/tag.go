package img

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"go.podman.io/storage"
)

// Tag gives an image more names. A short name is localhost's; a name that
// another image has moves from it. Names that it has already are fine.
func (s *Store) Tag(ctx context.Context, ref string, names ...string) error {
	im, _, err := s.find(ctx, ref)
	if err != nil {
		return err
	}
	full := make([]string, len(names))
	for i, n := range names {
		tagged, err := localName(n)
		if err != nil {
			return err
		}
		full[i] = tagged.String()
	}
	if err := s.storage.AddNames(im.ID, full); err != nil {
		return fmt.Errorf("tagging %q: %w", ref, renameClass(err))
	}
	return nil
}

// Untag takes names off an image, or all of them when none are given. The image
// stays. A name that is not the image's is ErrNotFound, and nothing is changed.
func (s *Store) Untag(ctx context.Context, ref string, names ...string) error {
	im, _, err := s.find(ctx, ref)
	if err != nil {
		return err
	}
	gone := im.Names
	if len(names) > 0 {
		gone = nil
		for _, n := range names {
			other, name, err := s.find(ctx, n)
			if err != nil {
				return err
			}
			if other.ID != im.ID || !slices.Contains(im.Names, name) {
				return fmt.Errorf("image %q has no name %q: %w", ref, n, errdefs.ErrNotFound)
			}
			gone = append(gone, name)
		}
	}
	if err := s.storage.RemoveNames(im.ID, gone); err != nil {
		return fmt.Errorf("untagging %q: %w", ref, renameClass(err))
	}
	return nil
}

// renameClass gives an error about names its class.
func renameClass(err error) error {
	switch {
	case errors.Is(err, storage.ErrStoreIsReadOnly):
		return &classified{msg: "it is in a read-only store", class: []error{errdefs.ErrFailedPrecondition}, cause: err}
	case errors.Is(err, storage.ErrImageUnknown):
		return &classified{msg: errdefs.ErrNotFound.Error(), class: []error{errdefs.ErrNotFound}, cause: err}
	}
	return err
}
