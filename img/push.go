package img

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/compression"
)

// PushOptions are how to push.
type PushOptions struct {
	Registry Registry
	// Format is the manifest's: "oci", "v2s2" (Docker's), or empty for the
	// image's own.
	Format string
	// Compression of the layers is "gzip" or "zstd"; empty is gzip.
	Compression string
	// Progress, Retries and RetryDelay are as in PullOptions.
	Progress   func(ProgressEvent)
	Retries    int
	RetryDelay time.Duration
}

// Push writes an image to a registry, under the name dest, docker:// or not, or
// its own if dest is empty, and returns the manifest's digest there. Errors have
// the classes of Pull's.
func (s *Store) Push(ctx context.Context, ref, dest string, o PushOptions) (string, error) {
	im, name, err := s.find(ctx, ref)
	if err != nil {
		return "", err
	}
	named, err := pushName(ref, name, dest)
	if err != nil {
		return "", err
	}
	if err := s.checkAccess(access{registry: o.Registry}); err != nil {
		return "", err
	}
	temp, done, err := s.tempDir()
	if err != nil {
		return "", err
	}
	defer done()
	sys := s.systemContext(access{registry: o.Registry, temp: temp})
	opts := copy.Options{SourceCtx: sys, DestinationCtx: sys}
	switch o.Format {
	case "":
	case "oci":
		opts.ForceManifestMIMEType = "application/vnd.oci.image.manifest.v1+json"
	case "v2s2":
		opts.ForceManifestMIMEType = manifest.DockerV2Schema2MediaType
	default:
		return "", fmt.Errorf("manifest format %q: not one of oci, v2s2: %w", o.Format, errdefs.ErrInvalidArgument)
	}
	if o.Compression != "" {
		algorithm, err := compression.AlgorithmByName(o.Compression)
		if err != nil {
			return "", fmt.Errorf("compression %q: not one of gzip, zstd: %w", o.Compression, errdefs.ErrInvalidArgument)
		}
		sys.CompressionFormat = &algorithm
	}
	to, err := docker.NewReference(named)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", named.String(), errdefs.ErrInvalidArgument)
	}
	var data []byte
	p := &progress{ref: named.String(), to: o.Progress}
	err = retrying(ctx, retries{o.Retries, o.RetryDelay}, p, func() (err error) {
		data, err = s.copyFrom(ctx, im.ID, to, p, opts)
		return transfer{"pushing", named.String(), reference.Domain(named)}.error(err)
	})
	if err != nil {
		return "", err
	}
	digest, err := manifest.Digest(data)
	if err != nil {
		return "", fmt.Errorf("pushing %q: %w", named.String(), err)
	}
	return digest.String(), nil
}

// pushName is the full name to push to. A short one has no registry, and is not
// guessed at: the guess would be somebody else's repository.
func pushName(ref, own, dest string) (reference.Named, error) {
	if dest == "" {
		if own == "" {
			return nil, fmt.Errorf("pushing %q: it is not a name; say where to push to: %w", ref, errdefs.ErrInvalidArgument)
		}
		dest = own
	}
	loc, err := splitLocation(dest)
	if err != nil {
		return nil, err
	}
	if loc.transport != "" {
		return nil, fmt.Errorf("pushing to %q: not a registry; save writes files: %w", dest, errdefs.ErrInvalidArgument)
	}
	named, short, err := parseName(loc.rest)
	if err != nil {
		return nil, err
	}
	if _, digested := named.(reference.Digested); short || digested {
		return nil, fmt.Errorf("pushing to %q: a destination has a registry and a tag: %w", dest, errdefs.ErrInvalidArgument)
	}
	return named, nil
}
