package img

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.podman.io/image/v5/manifest"
	"go.podman.io/storage"

	"github.com/davit-containers/davit/img/whole"
)

// Details are all that is known of an image.
type Details struct {
	Image
	// DiffIDs are the digests of the unpacked layers, the lowest first.
	DiffIDs []string `json:"diffIDs"`
	// Layers are the storage layers' IDs, the lowest first.
	Layers []string `json:"layers"`
	// Parent is the ID of the image that this one was built on, if it is here.
	Parent string `json:"parent,omitempty"`
	// ManifestType is the media type of the manifest.
	ManifestType string         `json:"manifestType"`
	History      []HistoryEntry `json:"history"`
	// Driver is the storage driver, and DriverData what it says of the top layer.
	Driver     string            `json:"driver"`
	DriverData map[string]string `json:"driverData,omitempty"`
	// RawConfig is the config as it is stored; empty for a schema 1 image.
	RawConfig json.RawMessage `json:"-"`
}

// HistoryEntry is one step of an image's making.
type HistoryEntry struct {
	// ID is the image's for the last step, and empty for those before it.
	ID        string    `json:"id"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"createdBy"`
	Comment   string    `json:"comment"`
	Size      int64     `json:"size"`
	Empty     bool      `json:"empty"` // it made no layer
	Tags      []string  `json:"tags,omitempty"`
}

// Inspect describes one image in full; ref is as for Resolve.
func (s *Store) Inspect(ctx context.Context, ref string) (Details, error) {
	im, _, err := s.find(ctx, ref)
	if err != nil {
		return Details{}, err
	}
	out := Details{Driver: s.storage().GraphDriverName()}
	if out.Image, err = s.image(im); err != nil {
		return Details{}, err
	}
	chain, err := s.chain(im.TopLayer)
	if err != nil {
		return Details{}, err
	}
	for _, l := range chain {
		out.Layers = append(out.Layers, l.ID)
	}
	cfg, err := s.readConfig(im)
	if err != nil {
		return Details{}, err
	}
	out.DiffIDs = cfg.RootFS.DiffIDs
	if len(out.DiffIDs) == 0 {
		for _, l := range chain {
			out.DiffIDs = append(out.DiffIDs, l.UncompressedDigest.String())
		}
	}
	if key := "sha256:" + im.ID; slices.Contains(im.BigDataNames, key) {
		if out.RawConfig, err = s.bigData(im, key); err != nil {
			return Details{}, err
		}
	}
	out.History = history(im, cfg, chain)
	if raw, err := s.bigData(im, storage.ImageDigestBigDataKey); err == nil {
		out.ManifestType = manifest.GuessMIMEType(raw)
	}
	if out.Parent, err = s.parent(im, cfg, chain); err != nil {
		return Details{}, err
	}
	out.DriverData = s.driverData(im.TopLayer)
	return out, nil
}

// History is an image's making, the last step first.
func (s *Store) History(ctx context.Context, ref string) ([]HistoryEntry, error) {
	im, _, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	cfg, err := s.readConfig(im)
	if err != nil {
		return nil, err
	}
	chain, err := s.chain(im.TopLayer)
	if err != nil {
		return nil, err
	}
	return history(im, cfg, chain), nil
}

// chain are the layers down from top, the lowest first.
func (r *records) chain(top string) ([]*storage.Layer, error) {
	var out []*storage.Layer
	seen := map[string]bool{}
	for id := top; id != "" && !seen[id]; {
		seen[id] = true
		l, err := r.storage().Layer(id)
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", id, err)
		}
		out = append(out, l)
		id = l.Parent
	}
	slices.Reverse(out)
	return out, nil
}

// history joins a config's history with the sizes of the layers, both from the
// lowest up. A config may have no history, or too little: a layer is a step.
func history(im *storage.Image, cfg rawConfig, chain []*storage.Layer) []HistoryEntry {
	var out []HistoryEntry
	next := 0
	for _, h := range cfg.History {
		e := HistoryEntry{CreatedBy: h.CreatedBy, Comment: h.Comment, Empty: h.EmptyLayer}
		if h.Created != nil {
			e.Created = h.Created.UTC()
		}
		if !h.EmptyLayer && next < len(chain) {
			e.Size = max(chain[next].UncompressedSize, 0)
			next++
		}
		out = append(out, e)
	}
	for ; next < len(chain); next++ {
		out = append(out, HistoryEntry{Created: chain[next].Created.UTC(), Size: max(chain[next].UncompressedSize, 0)})
	}
	slices.Reverse(out)
	if len(out) > 0 {
		out[0].ID, out[0].Tags = im.ID, im.Names
	}
	return out
}

// parent is the ID of the image whose layers and history this one begins with,
// the one that has the most of them.
func (r *records) parent(im *storage.Image, cfg rawConfig, chain []*storage.Layer) (string, error) {
	best, depth := "", 0
	for i, l := range chain {
		images, err := r.storage().ImagesByTopLayer(l.ID)
		if err != nil {
			return "", fmt.Errorf("reading images: %w", err)
		}
		for _, other := range images {
			if other.ID == im.ID || !whole.Is(other) {
				continue
			}
			o, err := r.readConfig(other)
			if err != nil || len(o.History) >= len(cfg.History) {
				continue
			}
			if i+1 > depth || i+1 == depth && other.ID < best {
				best, depth = other.ID, i+1
			}
		}
	}
	return best, nil
}

// driverData is what the storage driver says of a layer, such as overlay's
// folders; nothing when it does not.
func (r *records) driverData(layer string) map[string]string {
	if layer == "" {
		return nil
	}
	driver, err := r.storage().GraphDriver()
	if err != nil {
		return nil
	}
	data, err := driver.Metadata(layer)
	if err != nil {
		return nil
	}
	return data
}
