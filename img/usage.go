package img

import (
	"context"
	"fmt"

	"go.podman.io/storage"
)

// Usage is what the images of a store take up, as recorded: no layer is walked.
type Usage struct {
	// Root is where images and layers are kept, RunRoot their mounts; Driver
	// keeps them.
	Root    string `json:"root"`
	RunRoot string `json:"runRoot"`
	Driver  string `json:"driver"`
	// Size is the bytes of all layers of images, each counted once, and of the
	// images' records; Reclaimable is the part of it that only images have that
	// no container uses.
	Size        int64        `json:"size"`
	Reclaimable int64        `json:"reclaimable"`
	Images      []ImageUsage `json:"images"`
}

// ImageUsage is what one image takes up.
type ImageUsage struct {
	ID         string   `json:"id"`
	Names      []string `json:"names,omitempty"`
	Size       int64    `json:"size"`
	Shared     int64    `json:"shared"` // of its layers that other images have too
	Unique     int64    `json:"unique"`
	Containers int      `json:"containers"` // those made of it
}

// Usage reads what the images take up.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	if err := ctx.Err(); err != nil {
		return Usage{}, err
	}
	out := Usage{Root: s.storage.GraphRoot(), RunRoot: s.storage.RunRoot(), Driver: s.storage.GraphDriverName()}
	images, err := s.storage.Images()
	if err != nil {
		return Usage{}, fmt.Errorf("reading images: %w", err)
	}
	layers, err := s.storage.Layers()
	if err != nil {
		return Usage{}, fmt.Errorf("reading layers: %w", err)
	}
	containers, err := s.storage.Containers()
	if err != nil {
		return Usage{}, fmt.Errorf("reading storage containers: %w", err)
	}
	uses := map[string]int{}
	for i := range containers {
		uses[containers[i].ImageID]++
	}
	t := newTally(layers)
	for i := range images {
		t.add(&images[i], uses[images[i].ID] > 0)
	}
	for i := range images {
		u := t.image(&images[i])
		u.Containers = uses[images[i].ID]
		out.Images = append(out.Images, u)
	}
	out.Size, out.Reclaimable = t.size, t.size-t.used
	return out, nil
}

// tally counts which layers images share.
type tally struct {
	layers     map[string]*storage.Layer
	images     map[string]int  // how many images have the layer
	inUse      map[string]bool // a container's image has it
	size, used int64
}

func newTally(layers []storage.Layer) *tally {
	t := &tally{layers: make(map[string]*storage.Layer, len(layers)), images: map[string]int{}, inUse: map[string]bool{}}
	for i := range layers {
		t.layers[layers[i].ID] = &layers[i]
	}
	return t
}

// below calls f with each layer down from top.
func (t *tally) below(top string, f func(l *storage.Layer)) {
	n := 0
	for l := t.layers[top]; l != nil && n <= len(t.layers); l = t.layers[l.Parent] {
		f(l)
		n++
	}
}

func (t *tally) add(im *storage.Image, used bool) {
	records := recordsSize(im)
	t.size += records
	if used {
		t.used += records
	}
	t.below(im.TopLayer, func(l *storage.Layer) {
		size := max(l.UncompressedSize, 0)
		if t.images[l.ID]++; t.images[l.ID] == 1 {
			t.size += size
		}
		if used && !t.inUse[l.ID] {
			t.inUse[l.ID] = true
			t.used += size
		}
	})
}

func (t *tally) image(im *storage.Image) ImageUsage {
	out := ImageUsage{ID: im.ID, Names: im.Names, Unique: recordsSize(im)}
	t.below(im.TopLayer, func(l *storage.Layer) {
		if size := max(l.UncompressedSize, 0); t.images[l.ID] > 1 {
			out.Shared += size
		} else {
			out.Unique += size
		}
	})
	out.Size = out.Shared + out.Unique
	return out
}

// recordsSize is the bytes of an image's manifest, config and the like.
func recordsSize(im *storage.Image) int64 {
	var n int64
	for _, size := range im.BigDataSizes {
		n += size
	}
	return n
}
