package img

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage"

	"github.com/davit-containers/davit/img/whole"
)

// Resolve finds the one image that ref means: a name (short names as podman
// resolves them: an alias, localhost/, the unqualified-search registries), a
// digest, a full ID, with or without sha256:, or a unique prefix of one. It
// returns ErrNotFound, *AmbiguousError, or ErrInvalidArgument for what can be
// none of these.
func (s *Store) Resolve(ctx context.Context, ref string) (Image, error) {
	return s.ResolveAs(ctx, ref, MatchSimilar)
}

// Match says which images a short name may mean.
type Match int

const (
	// MatchSimilar are, where nothing else has the name, those whose names end in
	// it, of whatever registry: what a person means who types it.
	MatchSimilar Match = iota
	// MatchExact are those of the registries that it would be pulled from, and
	// localhost's. Another registry's never are: whoever can have an image pulled
	// could have it taken for somebody else's.
	MatchExact
	// MatchAllowed are those of MatchExact, if the signature policy accepts them now,
	// by the name that they are asked for; by one of theirs when they are asked for by
	// ID or digest.
	MatchAllowed
)

// ResolveAs is Resolve with a choice of what a short name means.
func (s *Store) ResolveAs(ctx context.Context, ref string, m Match) (Image, error) {
	im, name, err := s.match(ctx, ref, m)
	if err != nil {
		return Image{}, err
	}
	if m == MatchAllowed {
		names := im.Names
		if name != "" {
			names = []string{name}
		}
		if err := allowed(ctx, s.core, im.ID, names); err != nil {
			return Image{}, localError("using", ref, err)
		}
	}
	return s.image(im)
}

// Get returns the image of this full ID, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Image, error) {
	if err := ctx.Err(); err != nil {
		return Image{}, err
	}
	if !isFullID(id) {
		return Image{}, fmt.Errorf("image ID %q: not 64 hexadecimal digits: %w", id, errdefs.ErrInvalidArgument)
	}
	im, err := s.byID(id)
	if err != nil {
		return Image{}, err
	}
	if im == nil {
		return Image{}, notFound(id)
	}
	return s.image(im)
}

// Exists says whether ref means a local image. An ambiguous or invalid ref is
// an error.
func (s *Store) Exists(ctx context.Context, ref string) (bool, error) {
	_, _, err := s.find(ctx, ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// find is Resolve, and tells the name that matched, which is empty when ref was
// an ID or a digest.
func (c *core) find(ctx context.Context, ref string) (*storage.Image, string, error) {
	return c.match(ctx, ref, MatchSimilar)
}

func (c *core) match(ctx context.Context, ref string, m Match) (*storage.Image, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if id, ok := strings.CutPrefix(ref, "sha256:"); ok && isHex(id) {
		return c.findDigest(ref, id)
	}
	if isFullID(ref) {
		// A name cannot be 64 hexadecimal digits: distribution/reference.
		im, err := c.byID(ref)
		if err == nil && im == nil {
			err = notFound(ref)
		}
		return im, "", err
	}
	im, name, nameErr := c.findName(ref, m)
	if nameErr == nil || !errdefs.IsNotFound(nameErr) && !errors.Is(nameErr, errdefs.ErrInvalidArgument) {
		return im, name, nameErr
	}
	if isHex(ref) {
		im, err := c.byPrefix(ref, ref)
		if err != nil || im != nil {
			return im, "", err
		}
	}
	return nil, "", nameErr
}

// findDigest finds what sha256:HEX means: an image's ID, whole or its
// beginning, or a manifest's digest.
func (c *core) findDigest(ref, id string) (*storage.Image, string, error) {
	if !isFullID(id) {
		im, err := c.byPrefix(ref, id)
		if err == nil && im == nil {
			err = notFound(ref)
		}
		return im, "", err
	}
	im, err := c.byID(id)
	if err != nil || im != nil {
		return im, "", err
	}
	images, err := whole.ByDigest(c.storage(), digest.Digest(ref))
	if err != nil {
		return nil, "", fmt.Errorf("looking up %q: %w", ref, err)
	}
	switch len(images) {
	case 0:
		return nil, "", notFound(ref)
	case 1:
		return images[0], "", nil
	}
	return nil, "", ambiguous(ref, images)
}

// findName finds the image of a name, trying in order all that it may mean.
func (c *core) findName(ref string, m Match) (*storage.Image, string, error) {
	candidates, short, err := c.localNames(ref)
	if err != nil {
		return nil, "", err
	}
	for _, named := range candidates {
		if digested, ok := named.(reference.Canonical); ok {
			im, err := c.byRepoDigest(digested)
			if err != nil || im != nil {
				return im, digested.String(), err
			}
			continue
		}
		name := named.String()
		im, err := c.storage().Image(name)
		switch {
		case err == nil && slices.Contains(im.Names, name):
			return im, name, nil
		case err != nil && !errors.Is(err, storage.ErrImageUnknown):
			return nil, "", fmt.Errorf("looking up %q: %w", ref, err)
		}
	}
	if short != nil && m == MatchSimilar {
		return c.bySuffix(ref, short)
	}
	return nil, "", notFound(ref)
}

// bySuffix finds the image that has a name ending in the short one, whatever
// its registry and the folders before it.
func (c *core) bySuffix(ref string, short reference.Named) (*storage.Image, string, error) {
	if _, ok := short.(reference.Digested); ok {
		return nil, "", notFound(ref)
	}
	images, err := whole.Images(c.storage())
	if err != nil {
		return nil, "", err
	}
	var (
		found []*storage.Image
		match string
		end   = "/" + reference.TagNameOnly(short).String()
	)
	for i := range images {
		for _, name := range images[i].Names {
			if strings.HasSuffix(name, end) && !slices.ContainsFunc(found, func(f *storage.Image) bool { return f.ID == images[i].ID }) {
				found, match = append(found, &images[i]), name
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, "", notFound(ref)
	case 1:
		return found[0], match, nil
	}
	return nil, "", ambiguous(ref, found)
}

// byRepoDigest finds the image with the digest that has, or had, a name in the
// repository; nil if there is none.
func (c *core) byRepoDigest(ref reference.Canonical) (*storage.Image, error) {
	images, err := whole.ByDigest(c.storage(), ref.Digest())
	if err != nil {
		return nil, fmt.Errorf("looking up %q: %w", ref.String(), err)
	}
	for _, im := range images {
		for _, name := range slices.Concat(im.Names, im.NamesHistory) {
			if named, err := reference.ParseNormalizedNamed(name); err == nil && named.Name() == ref.Name() {
				return im, nil
			}
		}
	}
	return nil, nil
}

// byID finds an image by its full ID; nil if there is none.
func (r *records) byID(id string) (*storage.Image, error) {
	im, err := r.storage().Image(id)
	if errors.Is(err, storage.ErrImageUnknown) || err == nil && !whole.Is(im) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up image %s: %w", id, err)
	}
	return im, nil
}

// byPrefix finds the one image whose ID begins with prefix; nil if there is none.
func (r *records) byPrefix(ref, prefix string) (*storage.Image, error) {
	images, err := whole.Images(r.storage())
	if err != nil {
		return nil, err
	}
	var found []*storage.Image
	for i := range images {
		// The same image may be in an additional store too.
		if strings.HasPrefix(images[i].ID, prefix) && !slices.ContainsFunc(found, func(f *storage.Image) bool { return f.ID == images[i].ID }) {
			found = append(found, &images[i])
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, ambiguous(ref, found)
}

func ambiguous(ref string, images []*storage.Image) error {
	e := &AmbiguousError{Ref: ref}
	for _, im := range images {
		e.IDs = append(e.IDs, im.ID)
	}
	slices.Sort(e.IDs)
	return e
}

func isFullID(s string) bool { return len(s) == 64 && isHex(s) }

func isHex(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}
