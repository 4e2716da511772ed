package img

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/tarball"
	"go.podman.io/storage/pkg/archive"
)

// LoadOptions say what to load.
type LoadOptions struct {
	// Path is an archive or a folder that Save, docker save, podman save or
	// skopeo wrote, compressed or not; Reader, an archive, is read instead if it
	// is set.
	Path   string
	Reader io.Reader
	// Owner is as in PullOptions.
	Owner    string
	Progress func(ProgressEvent)
}

// Load brings all images of an archive or folder into the store, with the names
// that they have there, and returns them. The signature policy applies. After
// an error the images before it are there, and returned as well.
func (s *Store) Load(ctx context.Context, o LoadOptions) ([]Image, error) {
	label := cmp.Or(o.Path, "standard input")
	temp, done, err := s.tempDir()
	if err != nil {
		return nil, err
	}
	defer done()
	file, err := spool(ctx, temp, o.Path, o.Reader)
	if err != nil {
		return nil, err
	}
	a := access{temp: temp}
	sys := s.systemContext(a)
	transport, err := sniff(file)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", label, err)
	}
	sources, err := localSources(sys, location{transport, file})
	if err != nil {
		return nil, localError("loading", label, err)
	}
	defer closeAll(sources)
	var out []Image
	for _, src := range sources {
		p := &progress{ref: label, to: o.Progress}
		if len(src.names) > 0 {
			p.ref = src.names[0].String()
		}
		p.tell(ProgressEvent{Kind: PullStarted})
		id, err := s.copyIn(ctx, src, a, p)
		if err != nil {
			return out, localError("loading", label, err)
		}
		im, err := s.pulled(id, o.Owner, p, PullDone)
		if err != nil {
			return out, err
		}
		out = append(out, im)
	}
	return out, nil
}

// sniff says which transport reads what is at path. Docker's archives of today
// are OCI layouts as well, and have all names in the part that is Docker's.
func sniff(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", classOf(err)
	}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(path, name))
		return err == nil
	}
	switch {
	case st.IsDir() && has("oci-layout"):
		return "oci", nil
	case st.IsDir() && has("manifest.json"):
		return "dir", nil
	case st.IsDir():
		return "", fmt.Errorf("neither an OCI layout nor a dir: image: %w", errdefs.ErrInvalidArgument)
	}
	found, err := archiveHas(path, "manifest.json", "oci-layout")
	switch {
	case found["manifest.json"]:
		return "docker-archive", nil
	case found["oci-layout"]:
		return "oci-archive", nil
	case err != nil:
		return "", &classified{msg: "not an archive of images: " + lastCause(err), class: []error{errdefs.ErrInvalidArgument}, cause: err}
	}
	return "", fmt.Errorf("an archive, but not of images: %w", errdefs.ErrInvalidArgument)
}

// indexEntry is what is needed of an entry of an OCI layout's index.
type indexEntry struct {
	Annotations map[string]string `json:"annotations"`
}

// archiveIndex reads the index of an OCI layout in a tar file, without
// unpacking it.
func archiveIndex(file string) ([]indexEntry, error) {
	var index struct {
		Manifests []indexEntry `json:"manifests"`
	}
	err := walkArchive(file, func(h *tar.Header, r io.Reader) (bool, error) {
		if path.Clean(h.Name) != "index.json" || h.Typeflag != tar.TypeReg {
			return true, nil
		}
		if h.Size > maxMetadata {
			return false, &classified{msg: fmt.Sprintf("the archive's index.json has %d bytes, of %d allowed", h.Size, maxMetadata), class: []error{errdefs.ErrResourceExhausted}}
		}
		if err := json.NewDecoder(r).Decode(&index); err != nil {
			return false, fmt.Errorf("the archive's index.json: %w", err)
		}
		return false, nil
	})
	if err == nil && len(index.Manifests) == 0 {
		err = &classified{msg: "the archive has no image", class: []error{errdefs.ErrNotFound}}
	}
	return index.Manifests, err
}

// archiveHas says which of these files an archive has. It stops at the first.
func archiveHas(file string, names ...string) (map[string]bool, error) {
	found := map[string]bool{}
	err := walkArchive(file, func(h *tar.Header, _ io.Reader) (bool, error) {
		if name := path.Clean(h.Name); slices.Contains(names, name) {
			found[name] = true
		}
		return !found[names[0]], nil
	})
	return found, err
}

// walkArchive calls f with each entry of a tar file, compressed or not, until f
// answers false or an error.
func walkArchive(file string, f func(h *tar.Header, r io.Reader) (bool, error)) (err error) {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	plain, err := archive.DecompressStream(in)
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }() // read to where it was needed
	r := tar.NewReader(plain)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if more, err := f(h, r); err != nil || !more {
			return err
		}
	}
}

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
