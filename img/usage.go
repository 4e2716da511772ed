package img

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/img/whole"
)

// Usage is what the images of a store take up, as recorded: no layer is walked.
type Usage struct {
	// Root is where images and layers are kept, RunRoot their mounts; Driver
	// keeps them.
	Root    string `json:"root"`
	RunRoot string `json:"runRoot"`
	Driver  string `json:"driver"`
	// NoTypes says that the store's file system does not tell the types of
	// directory entries (d_type), which overlay needs to keep removed files removed.
	NoTypes bool `json:"noTypes,omitempty"`
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
	out := Usage{Root: s.storage().GraphRoot(), RunRoot: s.storage().RunRoot(), Driver: s.storage().GraphDriverName()}
	if status, err := s.storage().Status(); err == nil {
		out.NoTypes = slices.Contains(status, [2]string{"Supports d_type", "false"})
	}
	images, err := whole.Images(s.storage())
	if err != nil {
		return Usage{}, err
	}
	layers, err := s.storage().Layers()
	if err != nil {
		return Usage{}, fmt.Errorf("reading layers: %w", err)
	}
	containers, err := s.storage().Containers()
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

// FileSystems are those that images and containers' layers lie on: one and the
// same, unless the store keeps its images elsewhere.
type FileSystems struct{ Images, Containers FileSystemUsage }

// FileSystemUsage is what is used of a file system.
type FileSystemUsage struct {
	At   time.Time
	Path string // a folder on it
	// Bytes and Inodes are what images take up: the bytes of unpacked layers, as
	// recorded, and the inodes of those that have been counted.
	Bytes, Inodes uint64
}

// inodesWait is how long a caller waits for layers to be counted before it is told
// what is known.
const inodesWait = time.Second

// layerInodes are the inodes of images' layers. Layers do not change: each is
// walked once, in the background.
type layerInodes struct {
	mu       sync.Mutex
	known    map[string]uint64
	counting chan struct{} // closed when the count under way has ended; nil when there is none
	walks    sync.WaitGroup
}

// FileSystems tells what images take up. It walks no tree, but has new layers
// counted in the background and waits for that for a second at most.
func (s *Store) FileSystems(ctx context.Context) (FileSystems, error) {
	if err := ctx.Err(); err != nil {
		return FileSystems{}, err
	}
	images, err := whole.Images(s.storage())
	if err != nil {
		return FileSystems{}, err
	}
	layers, err := s.storage().Layers()
	if err != nil {
		return FileSystems{}, fmt.Errorf("reading layers: %w", err)
	}
	t := newTally(layers)
	for i := range images {
		t.add(&images[i], false)
	}
	u := FileSystemUsage{Path: s.storage().GraphRoot(), Bytes: uint64(max(t.size, 0))}
	u.Inodes = s.countInodes(ctx, t.images)
	u.At = time.Now()
	out := FileSystems{Images: u, Containers: u}
	if apart := s.storage().ImageStore(); apart != "" {
		out.Images.Path = apart
		if out.Containers, err = wholeUsage(s.storage().GraphRoot()); err != nil {
			return FileSystems{}, err
		}
	}
	return out, nil
}

// wholeUsage is what is used of a file system by whomever.
func wholeUsage(path string) (FileSystemUsage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return FileSystemUsage{}, fmt.Errorf("reading the file system of %s: %w", path, err)
	}
	return FileSystemUsage{
		At: time.Now(), Path: path, Inodes: st.Files - st.Ffree,
		Bytes: (st.Blocks - st.Bfree) * uint64(cmp.Or(st.Frsize, st.Bsize)),
	}, nil
}

// countInodes adds up the inodes of layers, and has those counted that are new.
func (r *Roots) countInodes(ctx context.Context, layers map[string]int) uint64 {
	n := &r.inodes
	n.mu.Lock()
	maps.DeleteFunc(n.known, func(id string, _ uint64) bool { return layers[id] == 0 })
	var missing []string
	for id := range layers {
		if _, ok := n.known[id]; !ok {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 && n.counting == nil && !r.layers.Closed() {
		done := make(chan struct{})
		n.counting = done
		n.walks.Go(func() {
			r.walkInodes(missing)
			n.mu.Lock()
			n.counting = nil
			n.mu.Unlock()
			close(done)
		})
	}
	counting := n.counting
	n.mu.Unlock()
	if counting != nil {
		timer := time.NewTimer(inodesWait)
		defer timer.Stop()
		select {
		case <-counting:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var sum uint64
	for id := range layers {
		sum += n.known[id]
	}
	return sum
}

// walkInodes counts layers, one at a time with those that other callers have
// walked. One that cannot be read counts as nothing.
func (r *Roots) walkInodes(layers []string) {
	for _, id := range layers {
		if r.layers.Closed() {
			return
		}
		count, err := r.layerInodes(id)
		if err != nil && !errdefs.IsNotFound(err) {
			r.log.Warn("counting the files of a layer", "layer", id, "error", err)
		}
		r.inodes.mu.Lock()
		r.inodes.known[id] = count
		r.inodes.mu.Unlock()
	}
}

func (r *Roots) layerInodes(id string) (uint64, error) {
	dir, err := r.upperDir(id)
	if errors.Is(err, errdefs.ErrNotImplemented) { // the driver knows itself
		driver, err := r.storage().GraphDriver()
		if err != nil {
			return 0, err
		}
		usage, err := driver.ReadWriteDiskUsage(id)
		if err != nil {
			return 0, err
		}
		return uint64(max(usage.InodeCount, 0)), nil
	}
	if err != nil {
		return 0, err
	}
	usage, err := r.layers.Walk(dir)
	return usage.Inodes, err
}
