package img

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	ocilayout "go.podman.io/image/v5/oci/layout"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// SaveFormat is what Save writes.
type SaveFormat string

// The formats of Save. The zero SaveFormat is FormatDockerArchive.
const (
	FormatDockerArchive SaveFormat = "docker-archive" // what docker save writes
	FormatOCIArchive    SaveFormat = "oci-archive"    // an OCI image layout in a tar file
	FormatOCIDir        SaveFormat = "oci-dir"        // an OCI image layout
	FormatDockerDir     SaveFormat = "docker-dir"     // skopeo's dir: with Docker's manifest
)

// SaveOptions say where and how to save.
type SaveOptions struct {
	Format SaveFormat
	// Path is the file or folder to write. A file that is there is replaced
	// when all is written. An archive goes to Writer instead if that is set.
	Path   string
	Writer io.Writer
	// Uncompressed leaves the layers of the OCI formats as plain tar files, and
	// Compress has docker-dir's compressed, whose layers are plain otherwise.
	Uncompressed, Compress bool
	Progress               func(ProgressEvent)
}

// saved is an image to save, and the names it gets outside.
type saved struct {
	image *storage.Image
	names []reference.NamedTagged
}

// Save writes images to an archive or folder. An image that is given by a name
// gets that name there, and one given by its ID all of its names. What fails or
// is cancelled leaves neither a file nor a new folder.
//
// An image with Docker's manifest gets OCI's config in an OCI format, which has
// no health check, and with it another ID.
func (s *Store) Save(ctx context.Context, refs []string, o SaveOptions) error {
	images, err := s.toSave(ctx, refs)
	if err != nil {
		return err
	}
	temp, done, err := s.tempDir()
	if err != nil {
		return err
	}
	defer done()
	sys := s.systemContext(access{temp: temp})
	sys.OCIAcceptUncompressedLayers = o.Uncompressed
	sys.DirForceCompress = o.Compress
	job := saving{core: s.core, sys: sys, progress: o.Progress}
	label := o.Path
	switch o.Format {
	case FormatDockerArchive, "":
		err = toFile(o, temp, func(path string) error { return job.dockerArchive(ctx, path, images) })
	case FormatOCIArchive:
		layout := filepath.Join(temp, "layout")
		if err = job.layout(ctx, layout, images); err == nil {
			err = toFile(o, temp, func(path string) error { return tarFolder(ctx, path, layout) })
		}
	case FormatOCIDir:
		err = toFolder(o.Path, func(path string) error { return job.layout(ctx, path, images) })
	case FormatDockerDir:
		if len(images) != 1 {
			return fmt.Errorf("saving to %s: the format %s holds one image: %w", label, o.Format, errdefs.ErrInvalidArgument)
		}
		err = toFolder(o.Path, func(path string) error { return job.dir(ctx, path, images[0]) })
	default:
		return fmt.Errorf("save format %q: not one of docker-archive, oci-archive, oci-dir, docker-dir: %w", o.Format, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		if label == "" {
			label = "standard output"
		}
		return localError("saving to", label, err)
	}
	return nil
}

// toSave finds the images to save. One that is given twice is saved once, with
// both names.
func (c *core) toSave(ctx context.Context, refs []string) ([]saved, error) {
	if len(refs) == 0 {
		return nil, fmt.Errorf("saving: no image given: %w", errdefs.ErrInvalidArgument)
	}
	var out []saved
	for _, ref := range refs {
		im, name, err := c.find(ctx, ref)
		if err != nil {
			return nil, err
		}
		names := []string{name}
		if name == "" {
			names = im.Names
		}
		at := slices.IndexFunc(out, func(s saved) bool { return s.image.ID == im.ID })
		if at < 0 {
			out = append(out, saved{image: im})
			at = len(out) - 1
		}
		for _, n := range names {
			named, err := reference.ParseNormalizedNamed(n)
			if err != nil {
				continue
			}
			if tagged, ok := named.(reference.NamedTagged); ok && !slices.ContainsFunc(out[at].names, func(o reference.NamedTagged) bool { return o.String() == tagged.String() }) {
				out[at].names = append(out[at].names, tagged)
			}
		}
	}
	return out, nil
}

// saving is one Save under way.
type saving struct {
	*core
	sys      *types.SystemContext
	progress func(ProgressEvent)
}

// copyOut copies one image to dest.
func (j saving) copyOut(ctx context.Context, im *storage.Image, dest types.ImageReference, mediaType string) error {
	p := &progress{ref: im.ID, to: j.progress}
	if len(im.Names) > 0 {
		p.ref = im.Names[0]
	}
	opts := copy.Options{SourceCtx: j.sys, DestinationCtx: j.sys, ForceManifestMIMEType: mediaType}
	opts.RemoveSignatures = true // the archives have no place for them
	_, err := j.copyFrom(ctx, im.ID, dest, p, opts)
	return err
}

// copyFrom copies an image out of the store and returns its manifest there.
func (c *core) copyFrom(ctx context.Context, id string, dest types.ImageReference, p *progress, opts copy.Options) ([]byte, error) {
	src, err := istorage.Transport.NewStoreReference(c.storage(), nil, id)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", id, err)
	}
	policy, err := acceptAll(opts.SourceCtx)
	if err != nil {
		return nil, err
	}
	defer policy.Destroy()
	opts.ConcurrentBlobCopiesSemaphore = c.copies
	var manifest []byte
	err = p.watched(ctx, &opts, func(ctx context.Context) (err error) {
		manifest, err = copy.Image(ctx, policy, dest, src, &opts)
		return err
	})
	return manifest, err
}

func (j saving) dockerArchive(ctx context.Context, path string, images []saved) (err error) {
	w, err := dockerarchive.NewWriter(j.sys, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, im := range images {
		dest, err := w.NewReference(nil)
		if err != nil {
			return err
		}
		sys := *j.sys
		sys.DockerArchiveAdditionalTags = im.names
		one := saving{core: j.core, sys: &sys, progress: j.progress}
		if err := one.copyOut(ctx, im.image, dest, manifest.DockerV2Schema2MediaType); err != nil {
			return err
		}
	}
	return nil
}

func (j saving) layout(ctx context.Context, path string, images []saved) error {
	for _, im := range images {
		names := []string{""}
		if len(im.names) > 0 {
			names = nil
			for _, n := range im.names {
				names = append(names, n.String())
			}
		}
		for _, n := range names {
			dest, err := ocilayout.NewReference(path, n)
			if err != nil {
				return err
			}
			if err := j.copyOut(ctx, im.image, dest, "application/vnd.oci.image.manifest.v1+json"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j saving) dir(ctx context.Context, path string, im saved) error {
	dest, err := directory.NewReference(path)
	if err != nil {
		return err
	}
	return j.copyOut(ctx, im.image, dest, manifest.DockerV2Schema2MediaType)
}

// toFile has write make a file and puts it in its place, or copies it to the
// writer, when it is whole.
func toFile(o SaveOptions, temp string, write func(path string) error) error {
	dir := temp
	if o.Writer == nil {
		if st, err := os.Stat(o.Path); err == nil && !st.Mode().IsRegular() {
			out, err := os.OpenFile(o.Path, os.O_WRONLY, 0) // a pipe or a device
			if err != nil {
				return err
			}
			o.Writer = out
			defer func() { _ = out.Close() }()
		} else {
			dir = filepath.Dir(o.Path)
		}
	}
	f, err := os.CreateTemp(dir, ".davit-save-*")
	if err != nil {
		return err
	}
	path := f.Name()
	defer func() { _ = os.Remove(path) }()
	if err := f.Close(); err != nil {
		return err
	}
	if err := write(path); err != nil {
		return err
	}
	if o.Writer == nil {
		return errors.Join(os.Chmod(path, 0o644), os.Rename(path, o.Path))
	}
	if f, err = os.Open(path); err != nil {
		return err
	}
	_, err = io.Copy(o.Writer, f)
	return errors.Join(err, f.Close())
}

// toFolder has write fill a folder. A new one appears when it is whole; one
// that is there is added to.
func toFolder(path string, write func(path string) error) error {
	if path == "" {
		return fmt.Errorf("a folder to write is missing: %w", errdefs.ErrInvalidArgument)
	}
	if _, err := os.Stat(path); err == nil {
		return write(path)
	}
	temp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(path)), ".davit-save-*")
	if err != nil {
		return err
	}
	err = write(temp)
	if err == nil {
		err = errors.Join(os.Chmod(temp, 0o755), os.Rename(temp, path))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return nil
}

// tarFolder writes the files below dir to a tar file: the same folder gives
// the same bytes.
func tarFolder(ctx context.Context, path, dir string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	defer func() { err = errors.Join(err, w.Close(), f.Close()) }()
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: rel + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
		}
		return tarFile(ctx, w, file, rel)
	})
}

func tarFile(ctx context.Context, w *tar.Writer, file, name string) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: st.Size(), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(w, contextReader{ctx, f})
	return err
}
