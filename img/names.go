package img

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// parseName parses a name and says whether it is a short one, whose registry is
// missing. A short one is returned as it is, without a tag added.
func parseName(ref string) (named reference.Named, short bool, err error) {
	parsed, err := reference.Parse(ref)
	if err != nil {
		if errors.Is(err, reference.ErrNameContainsUppercase) {
			return nil, false, fmt.Errorf("image %q: a repository name is in lower case: %w", ref, errdefs.ErrInvalidArgument)
		}
		return nil, false, fmt.Errorf("image %q: not a valid reference: %w", ref, errdefs.ErrInvalidArgument)
	}
	named, ok := parsed.(reference.Named)
	if !ok {
		return nil, false, fmt.Errorf("image %q: not a valid reference: %w", ref, errdefs.ErrInvalidArgument)
	}
	domain := reference.Domain(named)
	if !strings.ContainsAny(domain, ".:") && domain != "localhost" {
		return named, true, nil
	}
	named, err = reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, false, fmt.Errorf("image %q: not a valid reference: %w", ref, errdefs.ErrInvalidArgument)
	}
	return complete(named), false, nil
}

// complete gives a name the tag latest when it has none, and drops the tag of
// one that has a digest too: the digest says it all.
func complete(named reference.Named) reference.Named {
	if digested, ok := named.(reference.Digested); ok {
		if c, err := reference.WithDigest(reference.TrimNamed(named), digested.Digest()); err == nil {
			return c
		}
	}
	return reference.TagNameOnly(named)
}

// transplant gives the repository to the tag or digest of from.
func transplant(to, from reference.Named) (reference.Named, error) {
	to = reference.TrimNamed(to)
	if d, ok := from.(reference.Digested); ok {
		return reference.WithDigest(to, d.Digest())
	}
	if t, ok := from.(reference.Tagged); ok {
		return reference.WithTag(to, t.Tag())
	}
	return reference.TagNameOnly(to), nil
}

// localNames are the full names that ref may mean in the store, in the order to
// try them, and ref itself if it is a short name.
func (c *core) localNames(ref string) (full []reference.Named, short reference.Named, err error) {
	named, isShort, err := parseName(ref)
	if err != nil {
		return nil, nil, err
	}
	if !isShort {
		return []reference.Named{named}, nil, nil
	}
	alias, registries, err := shortName(c.systemContext(access{}), named)
	if err != nil {
		return nil, nil, err
	}
	var out []reference.Named
	if alias != nil {
		out = append(out, alias)
	}
	for _, r := range append(append([]string{"localhost"}, registries...), "docker.io") {
		full, err := reference.ParseNormalizedNamed(r + "/" + ref)
		if err != nil {
			return nil, nil, fmt.Errorf("image %q: not a valid reference: %w", ref, errdefs.ErrInvalidArgument)
		}
		out = append(out, complete(full))
	}
	return out, named, nil
}

// remoteNames are the full names to try to pull for ref, in order.
// *ShortNameError says that there are none, or too many.
func remoteNames(sys *types.SystemContext, ref string) ([]reference.Named, error) {
	named, short, err := parseName(ref)
	if err != nil {
		return nil, err
	}
	if !short {
		return []reference.Named{named}, nil
	}
	alias, registries, err := shortName(sys, named)
	if err != nil {
		return nil, err
	}
	if alias != nil {
		return []reference.Named{alias}, nil
	}
	ambiguous := false
	if len(registries) > 1 {
		mode, err := sysregistriesv2.GetShortNameMode(sys)
		if err != nil {
			return nil, fmt.Errorf("reading registries.conf: %w", err)
		}
		ambiguous = mode == types.ShortNameModeEnforcing
	}
	search := registries
	if len(search) == 0 {
		search = []string{"docker.io"}
	}
	var out []reference.Named
	for _, r := range search {
		full, err := reference.ParseNormalizedNamed(r + "/" + ref)
		if err != nil {
			return nil, fmt.Errorf("image %q: not a valid reference: %w", ref, errdefs.ErrInvalidArgument)
		}
		out = append(out, complete(full))
	}
	if ambiguous || len(registries) == 0 {
		e := &ShortNameError{Name: ref, Ambiguous: ambiguous}
		for _, n := range out {
			e.Candidates = append(e.Candidates, familiar(n))
		}
		return nil, e
	}
	return out, nil
}

// shortName asks registries.conf what a short name may mean: an alias, or the
// registries to search.
func shortName(sys *types.SystemContext, short reference.Named) (alias reference.Named, registries []string, err error) {
	alias, _, err = sysregistriesv2.ResolveShortNameAlias(sys, reference.TrimNamed(short).String())
	if err != nil {
		return nil, nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	if alias != nil {
		if alias, err = transplant(alias, short); err != nil {
			return nil, nil, fmt.Errorf("image %q: %w", short.String(), errdefs.ErrInvalidArgument)
		}
	}
	registries, err = sysregistriesv2.UnqualifiedSearchRegistries(sys)
	if err != nil {
		return nil, nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	return alias, registries, nil
}

// familiar is a full name without the tag that goes without saying.
func familiar(n reference.Named) string { return strings.TrimSuffix(n.String(), ":latest") }

// localName is the full name that an image gets here, such as what a tag
// command names: a short one is localhost's.
func localName(ref string) (reference.NamedTagged, error) {
	named, short, err := parseName(ref)
	if err != nil {
		return nil, err
	}
	if _, ok := named.(reference.Digested); ok {
		return nil, fmt.Errorf("image name %q: a name given here has a tag, not a digest: %w", ref, errdefs.ErrInvalidArgument)
	}
	if short {
		if named, err = reference.ParseNormalizedNamed("localhost/" + ref); err != nil {
			return nil, fmt.Errorf("image %q: not a valid reference: %w", ref, errdefs.ErrInvalidArgument)
		}
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return nil, fmt.Errorf("image %q: not a valid reference: %w", ref, errdefs.ErrInvalidArgument)
	}
	return tagged, nil
}

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
	if err := s.storage().AddNames(im.ID, full); err != nil {
		return fmt.Errorf("tagging %q: %w", ref, renameClass(err))
	}
	return s.intake.persist()
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
	if err := s.storage().RemoveNames(im.ID, gone); err != nil {
		return fmt.Errorf("untagging %q: %w", ref, renameClass(err))
	}
	return s.intake.persist()
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
