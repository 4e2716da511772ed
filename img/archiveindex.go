package img

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/containerd/errdefs"
)

// indexEntry is what is needed of an entry of an OCI layout's index.
type indexEntry struct {
	Annotations map[string]string `json:"annotations"`
}

// archiveIndex reads the index of an OCI layout in a plain tar file, without
// unpacking it.
func archiveIndex(file string) (_ []indexEntry, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("the archive has no index.json: %w", errdefs.ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(h.Name) != "index.json" || h.Typeflag != tar.TypeReg {
			continue
		}
		if h.Size > maxMetadata {
			return nil, fmt.Errorf("the archive's index.json has %d bytes, of %d allowed: %w", h.Size, maxMetadata, errdefs.ErrResourceExhausted)
		}
		var index struct {
			Manifests []indexEntry `json:"manifests"`
		}
		if err := json.NewDecoder(r).Decode(&index); err != nil {
			return nil, fmt.Errorf("the archive's index.json: %w", err)
		}
		if len(index.Manifests) == 0 {
			return nil, fmt.Errorf("the archive has no image: %w", errdefs.ErrNotFound)
		}
		return index.Manifests, nil
	}
}
