package imgcmd

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// imageFilters are what --filter and a NAME choose.
type imageFilters struct {
	cli.Filters
	name string
}

func filterKeys() []string {
	return []string{"before", "dangling", "id", "label", "label!", "readonly", "reference", "since", "until"}
}

// parseFilters reads --filter, and checks what can be checked without the images.
func parseFilters(args []string) (imageFilters, error) {
	f, err := cli.ParseFilters(args, filterKeys()...)
	if err != nil {
		return imageFilters{}, err
	}
	for _, key := range []string{"dangling", "readonly"} {
		for _, v := range f[key] {
			if _, err := strconv.ParseBool(v); err != nil {
				return imageFilters{}, cli.Usagef("filter %s=%s is neither true nor false", key, v)
			}
		}
	}
	for _, v := range f["until"] {
		if _, err := cli.ParseTime(v, time.Time{}); err != nil {
			return imageFilters{}, err
		}
	}
	return imageFilters{Filters: f}, nil
}

// resolver finds an image that a filter names.
type resolver interface {
	Resolve(ctx context.Context, ref string) (img.Image, error)
}

// apply returns the images that pass.
func (f imageFilters) apply(ctx context.Context, store resolver, images []img.Image, now time.Time) ([]img.Image, error) {
	named := map[string]img.Image{}
	for _, ref := range append(slices.Clone(f.Filters["before"]), f.Filters["since"]...) {
		im, err := store.Resolve(ctx, ref)
		if err != nil {
			return nil, err
		}
		named[ref] = im
	}
	return slices.DeleteFunc(images, func(im img.Image) bool { return !f.match(im, named, now) }), nil
}

func (f imageFilters) match(im img.Image, named map[string]img.Image, now time.Time) bool {
	isBool := func(b bool) func(string) bool {
		return func(v string) bool { want, _ := strconv.ParseBool(v); return want == b }
	}
	return (f.name == "" || matchesName(im, f.name)) &&
		f.Any("id", func(v string) bool { return strings.HasPrefix(im.ID, strings.TrimPrefix(v, "sha256:")) }) &&
		f.Any("reference", func(v string) bool { return matchesName(im, v) }) &&
		f.Any("dangling", isBool(im.Dangling())) &&
		f.Any("readonly", isBool(im.ReadOnly)) &&
		f.Any("before", func(v string) bool { return im.Created.Before(named[v].Created) }) &&
		f.Any("since", func(v string) bool { return im.Created.After(named[v].Created) }) &&
		f.Any("until", func(v string) bool {
			t, err := cli.ParseTime(v, now)
			return err == nil && im.Created.Before(t)
		}) &&
		f.Labels(im.Config.Labels)
}

// matchesName compares an image's names with a pattern: the whole name, the
// repository, or the end of it behind a slash, with or without the tag.
func matchesName(im img.Image, pattern string) bool {
	for _, name := range im.Names {
		repository, _ := splitName(name)
		for _, candidate := range []string{name, repository} {
			for {
				if ok, err := path.Match(pattern, candidate); err == nil && ok || candidate == pattern {
					return true
				}
				_, rest, more := strings.Cut(candidate, "/")
				if !more {
					break
				}
				candidate = rest
			}
		}
	}
	return false
}
