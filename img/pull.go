package img

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// PullPolicy says when a pull asks the registry.
type PullPolicy string

// The policies. The zero PullPolicy is PullAlways.
const (
	PullAlways  PullPolicy = "always"  // ask the registry; what is here already is not transferred again
	PullMissing PullPolicy = "missing" // only if there is no such image here
	PullNever   PullPolicy = "never"   // never; no such image here is ErrNotFound
	PullNewer   PullPolicy = "newer"   // if the registry's digest differs; an image that is here does for a registry that fails
)

// ParsePullPolicy parses a policy as it is typed; true and false are podman's
// old words for always and missing.
func ParsePullPolicy(s string) (PullPolicy, error) {
	switch p := PullPolicy(strings.ToLower(s)); p {
	case PullAlways, PullMissing, PullNever, PullNewer:
		return p, nil
	case "true":
		return PullAlways, nil
	case "", "false", "ifnotpresent":
		return PullMissing, nil
	}
	return "", fmt.Errorf("pull policy %q: not one of always, missing, never, newer: %w", s, errdefs.ErrInvalidArgument)
}

// Attempts for a transfer that fails for a reason that may pass.
const (
	defaultRetries    = 3
	defaultRetryDelay = time.Second
)

// PullOptions are how to pull.
type PullOptions struct {
	Policy   PullPolicy
	Platform Platform
	Registry Registry
	// Owner, when not empty, is recorded with the image: see Image.Pulled.
	Owner string
	// Progress is called with what happens, one event at a time, from another
	// goroutine than Pull's; never after Pull has returned.
	Progress func(ProgressEvent)
	// Retries is how often a transfer that failed for a passing reason is tried
	// again, after RetryDelay, then twice that, and so on; 0 is 3 times after a
	// second, and a negative number is never. What has arrived whole stays.
	Retries    int
	RetryDelay time.Duration
}

// Pull brings an image into the store and returns it: from a registry for a
// name, docker:// or not, or from oci:PATH[:NAME], oci-archive:FILE[:NAME],
// docker-archive:FILE[:NAME] and dir:PATH. A short name is tried as
// registries.conf says.
//
// Pulls of one reference, in this process and in others, transfer it once: the
// later ones wait, and take the image that the first one brought.
//
// A pull that is cancelled or fails leaves no image and no temporary file; the
// layers that it completed stay and are not transferred again.
//
// Errors have the classes ErrNotFound (no such image or platform),
// ErrUnavailable (registry not reached), ErrPermissionDenied (credentials),
// ErrDataLoss (content that does not match its digest), ErrSignature,
// ErrResourceExhausted (no space), and *ShortNameError.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (Image, error) {
	loc, err := splitLocation(ref)
	if err != nil {
		return Image{}, err
	}
	if err := s.checkAccess(access{registry: o.Registry}); err != nil {
		return Image{}, err
	}
	if loc.transport != "" {
		return s.pullLocal(ctx, loc, o)
	}
	return s.pullRemote(ctx, loc.rest, o)
}

// pullLocal is Pull of an image in the file system.
func (c *core) pullLocal(ctx context.Context, loc location, o PullOptions) (Image, error) {
	temp, done, err := c.tempDir()
	if err != nil {
		return Image{}, err
	}
	defer done()
	a := access{registry: o.Registry, platform: o.Platform, temp: temp}
	sources, err := localSources(c.systemContext(a), loc)
	if err != nil {
		return Image{}, err
	}
	defer closeAll(sources)
	if len(sources) > 1 {
		return Image{}, fmt.Errorf("%s holds %d images (%s): name one of them: %w", sources[0].label, len(sources), sourceNames(sources), errdefs.ErrInvalidArgument)
	}
	p := &progress{ref: sources[0].label, to: o.Progress}
	p.tell(ProgressEvent{Kind: PullStarted})
	id, err := c.copyIn(ctx, sources[0], a, p)
	if err != nil {
		return Image{}, transferError(sources[0].label, "", err)
	}
	return c.pulled(id, o, p, PullDone)
}

// pullRemote is Pull of a name.
func (c *core) pullRemote(ctx context.Context, ref string, o PullOptions) (Image, error) {
	policy := cmp.Or(o.Policy, PullAlways)
	var local *storage.Image
	if policy != PullAlways {
		im, _, err := c.find(ctx, ref)
		switch {
		case err == nil && c.forPlatform(im, o.Platform):
			local = im
		case err != nil && !errdefs.IsNotFound(err):
			return Image{}, err
		}
		if local != nil && policy != PullNewer {
			return c.pulled(local.ID, o, &progress{ref: ref, to: o.Progress}, PullSkipped)
		}
		if policy == PullNever {
			return Image{}, notFound(ref)
		}
	}
	if isFullID(ref) || strings.HasPrefix(ref, "sha256:") {
		return Image{}, fmt.Errorf("image %q: an ID says no registry to pull it from: %w", ref, errdefs.ErrNotFound)
	}
	sysregistriesv2.InvalidateCache() // a server outlives changes of registries.conf
	names, err := remoteNames(c.systemContext(access{}), ref)
	if err != nil {
		return Image{}, err
	}
	var errs []error
	for _, named := range names {
		im, err := c.pullNamed(ctx, named, o, local)
		if err == nil {
			return im, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return Image{}, joinPullErrors(ref, errs)
}

// joinPullErrors is the error of a name that was looked for in several places.
func joinPullErrors(ref string, errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	lines := make([]string, len(errs))
	worst := errs[0]
	for i, err := range errs {
		lines[i] = strings.TrimPrefix(err.Error(), "pulling ")
		if errdefs.IsNotFound(worst) {
			worst = err
		}
	}
	return &classified{msg: fmt.Sprintf("pulling %q: %s", ref, strings.Join(lines, "; ")), class: []error{worst}}
}

// pullNamed pulls one full name, unless somebody else just does. Local is the
// image that is here already, of a caller that wants a newer one only.
func (c *core) pullNamed(ctx context.Context, named reference.Named, o PullOptions, local *storage.Image) (Image, error) {
	p := &progress{ref: named.String(), to: o.Progress}
	lock, err := c.lockPull(ctx, pullKey(named, o), func() { p.tell(ProgressEvent{Kind: PullWaiting}) })
	if err != nil {
		return Image{}, transferError(named.String(), "", err)
	}
	defer lock.release()
	if lock.result != "" {
		return c.pulled(lock.result, o, p, PullSkipped)
	}
	if o.Policy == PullMissing {
		im, _, err := c.find(ctx, named.String())
		if err == nil && c.forPlatform(im, o.Platform) {
			return c.pulled(im.ID, o, p, PullSkipped)
		}
	}
	temp, done, err := c.tempDir()
	if err != nil {
		return Image{}, err
	}
	defer done()
	a := access{registry: o.Registry, platform: o.Platform, temp: temp}
	src, err := remoteSource(named)
	if err != nil {
		return Image{}, err
	}
	p.tell(ProgressEvent{Kind: PullStarted})
	if local != nil {
		if current, err := c.isCurrent(ctx, src, a, local); err != nil || current {
			if ctx.Err() != nil {
				return Image{}, transferError(src.label, src.host, ctx.Err())
			}
			if err != nil {
				c.log.Warn("the local image is used, as its registry does not answer", "image", named.String(), "error", lastCause(err))
			}
			return c.pulled(local.ID, o, p, PullSkipped)
		}
	}
	id, err := c.retrying(ctx, o, p, func() (string, error) { return c.copyIn(ctx, src, a, p) })
	if err != nil {
		return Image{}, transferError(src.label, src.host, err)
	}
	im, err := c.pulled(id, o, p, PullDone)
	if err == nil {
		lock.publish(id)
	}
	return im, err
}

// pullKey tells apart pulls that must not join: of other images, and of callers
// that the registry might answer otherwise.
func pullKey(named reference.Named, o PullOptions) string {
	key, err := json.Marshal([]any{named.String(), o.Platform, o.Registry})
	if err != nil {
		return named.String()
	}
	return string(key)
}

// forPlatform says whether a local image will do for the platform asked for.
func (c *core) forPlatform(im *storage.Image, p Platform) bool {
	if p == (Platform{}) {
		return true
	}
	cfg, err := c.readConfig(im)
	return err == nil && p.matches(Image{OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant})
}

// isCurrent says whether the registry's image is the local one.
func (c *core) isCurrent(ctx context.Context, src source, a access, local *storage.Image) (bool, error) {
	d, err := docker.GetDigest(ctx, c.systemContext(a), src.ref)
	if err != nil {
		return false, err
	}
	return slices.Contains(local.Digests, d), nil
}

// retrying calls transfer until it succeeds, fails for good, or has failed too
// often.
func (c *core) retrying(ctx context.Context, o PullOptions, p *progress, transfer func() (string, error)) (string, error) {
	retries, delay := cmp.Or(o.Retries, defaultRetries), cmp.Or(o.RetryDelay, defaultRetryDelay)
	for attempt := 0; ; attempt++ {
		id, err := transfer()
		if err == nil || attempt >= retries || ctx.Err() != nil || !isTransient(err) {
			return id, err
		}
		p.tell(ProgressEvent{Kind: Retrying, Err: transferError(p.ref, "", err), Wait: delay})
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return "", ctx.Err()
		case <-timer.C:
		}
		delay *= 2
	}
}

// copyIn copies one image into the store, once, and returns its ID. It has all
// its names, or does not exist.
func (c *core) copyIn(ctx context.Context, src source, a access, p *progress) (string, error) {
	sys := c.systemContext(a)
	if err := c.checkPlatform(ctx, sys, src, a.platform); err != nil {
		return "", err
	}
	makePolicy := c.policyContext
	if a.trusted {
		makePolicy = acceptAll
	}
	policy, err := makePolicy(sys)
	if err != nil {
		return "", err
	}
	defer policy.Destroy()
	dest, err := c.destination(ctx, sys, src)
	if err != nil {
		return "", err
	}
	var resolved types.ImageReference
	opts := copy.Options{
		SourceCtx: sys, DestinationCtx: sys, ConcurrentBlobCopiesSemaphore: c.copies, ReportResolvedReference: &resolved,
	}
	if p.to != nil {
		opts.Progress, opts.ProgressInterval = make(chan types.ProgressProperties), progressInterval
		drained := p.drain(opts.Progress)
		defer func() {
			close(opts.Progress)
			<-drained
		}()
	}
	if _, err := copy.Image(ctx, policy, dest, src.ref, &opts); err != nil {
		return "", err
	}
	if resolved == nil {
		return "", fmt.Errorf("storing %q: the store did not say which image it made: %w", src.label, errdefs.ErrInternal)
	}
	_, im, err := istorage.ResolveReference(resolved)
	if err != nil {
		return "", fmt.Errorf("storing %q: %w", src.label, err)
	}
	if len(src.names) > 0 {
		names := make([]string, len(src.names))
		for i, n := range src.names {
			names[i] = n.String()
		}
		if err := c.storage.AddNames(im.ID, names); err != nil {
			return "", fmt.Errorf("naming %q: %w", src.label, err)
		}
	}
	return im.ID, nil
}

// destination is where in the store an image goes: under a name, or, when it
// has none, under its ID alone.
func (c *core) destination(ctx context.Context, sys *types.SystemContext, src source) (types.ImageReference, error) {
	named, id := src.dest, ""
	switch {
	case named != nil:
	case len(src.names) > 0:
		named = src.names[0]
	default:
		im, err := src.ref.NewImage(ctx, sys)
		if err != nil {
			return nil, err
		}
		d := im.ConfigInfo().Digest
		if err := errors.Join(d.Validate(), im.Close()); err != nil {
			return nil, fmt.Errorf("image %q: it has neither a name nor a config to be known by: %w", src.label, errdefs.ErrInvalidArgument)
		}
		id = d.Encoded()
	}
	dest, err := istorage.Transport.NewStoreReference(c.storage, named, id)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", src.label, err)
	}
	return dest, nil
}

// checkPlatform refuses a single image that is for another platform than was
// asked for: the library chooses only where there is an index.
func (c *core) checkPlatform(ctx context.Context, sys *types.SystemContext, src source, p Platform) error {
	if p == (Platform{}) {
		return nil
	}
	im, err := src.ref.NewImage(ctx, sys)
	if err != nil {
		return err
	}
	info, err := im.Inspect(ctx)
	if err := errors.Join(err, im.Close()); err != nil {
		return err
	}
	if !p.matches(Image{OS: info.Os, Architecture: info.Architecture, Variant: info.Variant}) {
		return fmt.Errorf("no image found in it for %s: it is for %s: %w", p, Platform{info.Os, info.Architecture, info.Variant}, errdefs.ErrNotFound)
	}
	return nil
}

// pulled records who pulled an image, tells the caller's progress that it is
// there, and describes it.
func (c *core) pulled(id string, o PullOptions, p *progress, kind ProgressKind) (Image, error) {
	im, err := c.byID(id)
	if err == nil && im == nil {
		err = notFound(id) // removed meanwhile
	}
	if err != nil {
		return Image{}, err
	}
	if key := pulledKey + o.Owner; o.Owner != "" && !im.ReadOnly && !slices.Contains(im.BigDataNames, key) {
		// An image that is here and has no owner is somebody else's, and stays so.
		if kind == PullDone || slices.ContainsFunc(im.BigDataNames, func(n string) bool { return strings.HasPrefix(n, pulledKey) }) {
			if err := c.storage.SetImageBigData(id, key, []byte("1"), nil); err != nil {
				return Image{}, fmt.Errorf("recording who pulled %s: %w", p.ref, err)
			}
			if im, err = c.storage.Image(id); err != nil {
				return Image{}, fmt.Errorf("looking up image %s: %w", id, err)
			}
		}
	}
	out, err := c.image(im)
	if err != nil {
		return Image{}, err
	}
	p.tell(ProgressEvent{Kind: kind})
	return out, nil
}

func closeAll(sources []source) {
	for _, s := range sources {
		_ = s.close() // an archive that was read
	}
}

func sourceNames(sources []source) string {
	var out []string
	for _, s := range sources {
		if len(s.names) > 0 {
			out = append(out, s.names[0].String())
		}
	}
	return strings.Join(out, ", ")
}
