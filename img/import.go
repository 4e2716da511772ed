package img

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/containerd/errdefs"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/tarball"
)

// ImportOptions say what image to make of a root filesystem.
type ImportOptions struct {
	// Path is a tar file, compressed or not; Reader is read instead if it is set.
	Path   string
	Reader io.Reader
	// Name is the image's; empty leaves it without one. A short one is
	// localhost's.
	Name string
	// Changes are Dockerfile instructions for the image's config.
	Changes  []string
	Message  string
	Platform Platform
	Progress func(ProgressEvent)
}

// Import makes an image with one layer of a root filesystem in a tar file.
func (s *Store) Import(ctx context.Context, o ImportOptions) (Image, error) {
	var config imgspecv1.ImageConfig
	for _, c := range o.Changes {
		if err := applyChange(&config, c); err != nil {
			return Image{}, err
		}
	}
	src := source{label: cmp.Or(o.Path, "standard input"), close: func() error { return nil }}
	if o.Name != "" {
		name, err := localName(o.Name)
		if err != nil {
			return Image{}, err
		}
		src.names = []reference.NamedTagged{name}
	}
	temp, done, err := s.tempDir()
	if err != nil {
		return Image{}, err
	}
	defer done()
	path, err := spool(ctx, temp, o.Path, o.Reader)
	if err != nil {
		return Image{}, err
	}
	if src.ref, err = tarball.NewReference([]string{path}, nil); err != nil {
		return Image{}, fmt.Errorf("importing %s: %w", src.label, err)
	}
	updater, ok := src.ref.(tarball.ConfigUpdater)
	if !ok {
		return Image{}, fmt.Errorf("importing %s: the config cannot be set: %w", src.label, errdefs.ErrInternal)
	}
	now := time.Now().UTC()
	full := imgspecv1.Image{
		Created:  &now,
		Platform: imgspecv1.Platform{OS: cmp.Or(o.Platform.OS, "linux"), Architecture: cmp.Or(o.Platform.Architecture, runtime.GOARCH), Variant: o.Platform.Variant},
		Config:   config,
		History:  []imgspecv1.History{{Created: &now, Comment: cmp.Or(o.Message, "imported from tarball")}},
	}
	if err := updater.ConfigUpdate(full, nil); err != nil {
		return Image{}, fmt.Errorf("importing %s: %w", src.label, err)
	}
	p := &progress{ref: src.label, to: o.Progress}
	id, err := s.copyIn(ctx, src, access{temp: temp, trusted: true}, p)
	if err != nil {
		return Image{}, localError("importing", src.label, err)
	}
	return s.pulled(id, "", p, PullDone)
}

// spool is the path of the file to read: path itself, or what reader gives,
// written to a file in dir.
func spool(ctx context.Context, dir, path string, reader io.Reader) (string, error) {
	if reader == nil {
		st, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, classOf(err))
		}
		if st.Mode().IsRegular() || st.IsDir() {
			return path, nil
		}
		f, err := os.Open(path) // a pipe: it can be read once only
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, classOf(err))
		}
		defer func() { _ = f.Close() }()
		reader = f
	}
	out, err := os.CreateTemp(dir, "input-*.tar")
	if err != nil {
		return "", fmt.Errorf("keeping what is read: %w", err)
	}
	_, err = io.Copy(out, contextReader{ctx, reader})
	if err := errors.Join(err, out.Close()); err != nil {
		return "", fmt.Errorf("keeping what is read: %w", err)
	}
	return filepath.Clean(out.Name()), nil
}

// contextReader ends when its context does.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

var _ io.Reader = contextReader{}

// Read reads on while the context lasts.
func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
