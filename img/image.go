package img

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage"
)

// maxMetadata bounds a manifest or config that is read: the bound that
// containers/image has for what it writes.
const maxMetadata = 4 << 20

// knownImage is what an image says of itself.
type knownImage struct {
	Image
	annotated bool  // the manifest was read too
	size      int64 // of what it was read from
}

// What images say of themselves is kept in memory within these bounds. Most take a
// few KiB; one that is large is read each time.
const (
	maxKnown      = 2048 // images
	maxKnownImage = 1 << 20
	maxKnownBytes = 64 << 20
)

// knownImages keeps what images say of themselves, by ID and digest.
type knownImages struct {
	images map[string]knownImage
	size   int64 // of all
}

// add keeps one, in place of others where there are too many.
func (n *knownImages) add(key string, k knownImage) {
	if k.size > maxKnownImage {
		return
	}
	n.size -= n.images[key].size
	delete(n.images, key)
	if len(n.images) >= maxKnown || n.size+k.size > maxKnownBytes {
		clear(n.images)
		n.size = 0
	}
	n.images[key] = k
	n.size += k.size
}

// pulledKey begins the names of the data items that record who pulled an image.
const pulledKey = "davit-pulled-"

// Image is one local image, as of when it was read.
type Image struct {
	// ID is the image's full ID, 64 hexadecimal digits.
	ID string `json:"id"`
	// Names are fully qualified, with a tag or a digest; none is a dangling image.
	Names []string `json:"names,omitempty"`
	// Digest is the digest of the manifest that the image was stored with;
	// Digests holds it and that of the index it came from.
	Digest  string   `json:"digest,omitempty"`
	Digests []string `json:"digests,omitempty"`
	// Size is the bytes of the unpacked layers, shared or not, and of the
	// image's own records.
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
	// Config is what the image says about running it.
	Config ImageConfig `json:"config"`
	// OS, Architecture and Variant are the platform it is for.
	OS           string `json:"os,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Variant      string `json:"variant,omitempty"`
	Author       string `json:"author,omitempty"`
	Comment      string `json:"comment,omitempty"`
	// TopLayer is the storage layer on top; empty for an image without layers.
	TopLayer string `json:"topLayer,omitempty"`
	// ReadOnly says that it lies in an additional, read-only store.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Intermediate says that it has no name and other images are built on it.
	Intermediate bool `json:"intermediate,omitempty"`
	// Annotations are the manifest's.
	Annotations map[string]string `json:"annotations,omitempty"`
	// NamesHistory are names that it once had, the latest first.
	NamesHistory []string `json:"namesHistory,omitempty"`
	// Pulled are the owners that have pulled it, as PullOptions.Owner named
	// them; none for an image that podman or another program brought.
	Pulled []string `json:"pulled,omitempty"`
}

// ImageConfig is what an image says about the process it is for.
type ImageConfig struct {
	User         string            `json:"user,omitempty"`
	Env          []string          `json:"env,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	WorkingDir   string            `json:"workingDir,omitempty"`
	StopSignal   string            `json:"stopSignal,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"`
	ExposedPorts []string          `json:"exposedPorts,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Healthcheck  *Healthcheck      `json:"healthcheck,omitempty"`
	Shell        []string          `json:"shell,omitempty"`
}

// Healthcheck is Docker's extension of the image config. Test begins with NONE,
// CMD or CMD-SHELL. Zero durations are the caller's defaults.
type Healthcheck struct {
	Test          []string      `json:"test,omitempty"`
	Interval      time.Duration `json:"interval,omitempty"`
	Timeout       time.Duration `json:"timeout,omitempty"`
	StartPeriod   time.Duration `json:"startPeriod,omitempty"`
	StartInterval time.Duration `json:"startInterval,omitempty"`
	Retries       int           `json:"retries,omitempty"`
}

// Dangling says whether the image has no name.
func (i Image) Dangling() bool { return len(i.Names) == 0 }

// RepoTags are the names that have a tag.
func (i Image) RepoTags() []string {
	return slices.DeleteFunc(slices.Clone(i.Names), func(n string) bool { return strings.Contains(n, "@") })
}

// RepoDigests are the image's repositories, each with each of its digests.
func (i Image) RepoDigests() []string {
	out := map[string]bool{}
	for _, n := range i.Names {
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			continue
		}
		for _, d := range i.Digests {
			out[named.Name()+"@"+d] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// rawConfig is an image's config as it is stored: OCI's and Docker's are one
// format, with Docker's extensions.
type rawConfig struct {
	Created      *time.Time `json:"created"`
	Author       string     `json:"author"`
	Comment      string     `json:"comment"`
	OS           string     `json:"os"`
	Architecture string     `json:"architecture"`
	Variant      string     `json:"variant"`
	Config       *struct {
		User         string
		Env          []string
		Entrypoint   []string
		Cmd          []string
		WorkingDir   string
		StopSignal   string
		Volumes      map[string]struct{}
		ExposedPorts map[string]struct{}
		Labels       map[string]string
		Healthcheck  *Healthcheck
		Shell        []string
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []rawHistory `json:"history"`
}

type rawHistory struct {
	Created    *time.Time `json:"created"`
	CreatedBy  string     `json:"created_by"`
	Comment    string     `json:"comment"`
	EmptyLayer bool       `json:"empty_layer"`
}

// plain is the config in this package's own terms.
func (r rawConfig) plain() ImageConfig {
	c := r.Config
	if c == nil {
		return ImageConfig{}
	}
	return ImageConfig{
		User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir, StopSignal: c.StopSignal,
		Volumes: slices.Sorted(maps.Keys(c.Volumes)), ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)),
		Labels: c.Labels, Healthcheck: c.Healthcheck, Shell: c.Shell,
	}
}

// bigData reads one of an image's data items, within bounds.
func (r *records) bigData(im *storage.Image, key string) ([]byte, error) {
	if n := im.BigDataSizes[key]; n > maxMetadata {
		return nil, fmt.Errorf("reading %s of image %s: %d bytes, of %d allowed: %w", key, im.ID, n, maxMetadata, errdefs.ErrResourceExhausted)
	}
	data, err := r.storage().ImageBigData(im.ID, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s of image %s: %w", key, im.ID, err)
	}
	return data, nil
}

// readConfig reads an image's config. A schema 1 image has none but in its
// manifest, and one whose ID is not the digest of its config (zstd:chunked)
// names it there too.
func (r *records) readConfig(im *storage.Image) (rawConfig, error) {
	var cfg rawConfig
	key := "sha256:" + im.ID
	if !slices.Contains(im.BigDataNames, key) {
		manifest, err := r.bigData(im, storage.ImageDigestBigDataKey)
		if err != nil {
			return cfg, err
		}
		var m struct {
			Config  struct{ Digest string }
			History []struct{ V1Compatibility string }
		}
		if err := json.Unmarshal(manifest, &m); err != nil {
			return cfg, fmt.Errorf("parsing the manifest of image %s: %w", im.ID, err)
		}
		if m.Config.Digest == "" {
			return schema1Config(im.ID, m.History)
		}
		key = m.Config.Digest
	}
	data, err := r.bigData(im, key)
	if err != nil {
		return cfg, err
	}
	if err := json.Unmarshal(data, &cfg); err != nil {
		return cfg, fmt.Errorf("parsing the config of image %s: %w", im.ID, err)
	}
	return cfg, nil
}

// schema1Config reads the config from a schema 1 manifest's history, whose
// entries are configs of their own, the newest first.
func schema1Config(id string, history []struct{ V1Compatibility string }) (rawConfig, error) {
	var cfg rawConfig
	for i, h := range history {
		var one struct {
			rawConfig
			ContainerConfig struct{ Cmd []string } `json:"container_config"`
			Throwaway       bool                   `json:"throwaway"`
		}
		if err := json.Unmarshal([]byte(h.V1Compatibility), &one); err != nil {
			return cfg, fmt.Errorf("parsing the history of image %s: %w", id, err)
		}
		if i == 0 {
			cfg = one.rawConfig
			cfg.History = nil
		}
		cfg.History = append(cfg.History, rawHistory{
			Created: one.Created, CreatedBy: strings.Join(one.ContainerConfig.Cmd, " "), Comment: one.Comment, EmptyLayer: one.Throwaway,
		})
	}
	slices.Reverse(cfg.History)
	return cfg, nil
}

// image describes one stored image. An image whose config cannot be read is
// described without it, and the error given as well.
func (r *records) image(im *storage.Image) (Image, error) { return r.describe(im, true) }

// describe is image, with the manifest's annotations or without: they are in a
// file of their own.
func (r *records) describe(im *storage.Image, annotated bool) (Image, error) {
	out, sizeErr := r.outline(im)
	said, err := r.said(im, annotated)
	if err != nil {
		return out, err
	}
	said.addTo(&out)
	return out, sizeErr
}

// said is what an image's config says, and its manifest where that is asked for.
// It does not change, so that each is read once.
func (r *records) said(im *storage.Image, annotated bool) (Image, error) {
	key := im.ID + im.Digest.String()
	r.mu.Lock()
	known, ok := r.known.images[key]
	r.mu.Unlock()
	if ok && (known.annotated || !annotated) {
		return known.Image, nil
	}
	cfg, err := r.readConfig(im)
	if err != nil {
		return Image{}, err
	}
	out := Image{
		Config: cfg.plain(), OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant, Author: cfg.Author, Comment: cfg.Comment,
	}
	if n := len(cfg.History); out.Comment == "" && n > 0 {
		out.Comment = cfg.History[n-1].Comment
	}
	if cfg.Created != nil {
		out.Created = cfg.Created.UTC()
	}
	if annotated {
		var m struct {
			Annotations map[string]string `json:"annotations"`
		}
		if raw, err := r.bigData(im, storage.ImageDigestBigDataKey); err == nil && json.Unmarshal(raw, &m) == nil {
			out.Annotations = m.Annotations
		}
	}
	size := int64(0)
	for _, n := range im.BigDataSizes {
		size += max(n, 0)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.add(key, knownImage{out, annotated, size})
	return out, nil
}

// addTo gives an image what its config and manifest say, in copies of its own.
func (i Image) addTo(out *Image) {
	c := i.Config
	c.Env, c.Entrypoint, c.Cmd = slices.Clone(c.Env), slices.Clone(c.Entrypoint), slices.Clone(c.Cmd)
	c.Volumes, c.ExposedPorts, c.Shell = slices.Clone(c.Volumes), slices.Clone(c.ExposedPorts), slices.Clone(c.Shell)
	c.Labels = maps.Clone(c.Labels)
	if c.Healthcheck != nil {
		h := *c.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Healthcheck = &h
	}
	out.Config, out.OS, out.Architecture, out.Variant, out.Author, out.Comment = c, i.OS, i.Architecture, i.Variant, i.Author, i.Comment
	out.Annotations = maps.Clone(i.Annotations)
	if !i.Created.IsZero() {
		out.Created = i.Created
	}
}

// outline describes one stored image by its record alone.
func (r *records) outline(im *storage.Image) (Image, error) {
	out := Image{
		ID: im.ID, Names: im.Names, Digest: im.Digest.String(), Created: im.Created.UTC(), TopLayer: im.TopLayer, ReadOnly: im.ReadOnly,
		NamesHistory: im.NamesHistory,
	}
	for _, d := range im.Digests {
		out.Digests = append(out.Digests, d.String())
	}
	for _, key := range im.BigDataNames {
		if owner, ok := strings.CutPrefix(key, pulledKey); ok {
			out.Pulled = append(out.Pulled, owner)
		}
		out.Size += im.BigDataSizes[key]
	}
	layers, err := r.layersSize(im.TopLayer)
	out.Size += layers
	return out, err
}

// layersSize is the recorded size of a layer and those below it. Layers do not
// change, so that a sum once made is kept.
func (r *records) layersSize(top string) (int64, error) {
	if top == "" {
		return 0, nil
	}
	r.mu.Lock()
	size, ok := r.sizes[top]
	r.mu.Unlock()
	if ok {
		return size, nil
	}
	layers, err := r.storage().Layers()
	if err != nil {
		return 0, fmt.Errorf("reading layers: %w", err)
	}
	index := make(map[string]*storage.Layer, len(layers))
	for i := range layers {
		index[layers[i].ID] = &layers[i]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sumLayers(top, index), nil
}

// sumLayers adds up the sizes down from top, and keeps the sum of each layer on
// the way. The caller holds c.mu.
func (r *records) sumLayers(top string, index map[string]*storage.Layer) int64 {
	var chain []*storage.Layer
	var sum int64
	// The bound keeps a damaged store, whose layers go round, from doing so here.
	for id := top; id != "" && len(chain) <= len(index); {
		if size, ok := r.sizes[id]; ok {
			sum = size
			break
		}
		l := index[id]
		if l == nil {
			break
		}
		chain = append(chain, l)
		id = l.Parent
	}
	for _, l := range slices.Backward(chain) {
		sum += max(l.UncompressedSize, 0)
		r.sizes[l.ID] = sum
	}
	return sum
}
