package img

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/containerd/errdefs"
	"go.podman.io/storage/pkg/archive"
)

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
