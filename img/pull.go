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
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/storage"

	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/img/whole"
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
	// DockerIO says that a short name that nothing is configured for is
	// docker.io's.
	DockerIO bool
}

// Pull brings an image into the store and returns it: from a registry for a
// name, docker:// or not, or from oci:PATH[:NAME], oci-archive:FILE[:NAME],
// docker-archive:FILE[:NAME] and dir:PATH. A short name is tried as
// registries.conf says.
//
// Pulls of one reference, in this process and in others, transfer it once: the
// later ones wait, and take the image that the first one brought. A transfer
// that callers of this process share goes on when one of them gives up, and ends
// with the last of them.
//
// A pull that is cancelled or fails leaves no image and no temporary file; the
// layers that it completed stay and are not transferred again.
//
// Errors have the classes ErrNotFound (no such image or platform),
// ErrUnavailable (registry not reached, or silent for Config.Stall), ErrPermissionDenied (credentials),
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
	p := puller{s.core, o}
	if loc.transport != "" {
		return p.local(ctx, loc)
	}
	return s.pulls.join(ctx, loc.rest, p)
}

// puller is one Pull.
type puller struct {
	*core
	o PullOptions
}

// local is Pull of an image in the file system.
func (p puller) local(ctx context.Context, loc location) (Image, error) {
	temp, done, err := p.tempDir()
	if err != nil {
		return Image{}, err
	}
	defer done()
	a := access{registry: p.o.Registry, platform: p.o.Platform, temp: temp}
	sources, err := localSources(p.systemContext(a), loc)
	if err != nil {
		return Image{}, err
	}
	defer closeAll(sources)
	if len(sources) > 1 {
		return Image{}, fmt.Errorf("%s holds %d images (%s): name one of them: %w", sources[0].label, len(sources), sourceNames(sources), errdefs.ErrInvalidArgument)
	}
	to := &progress{ref: sources[0].label, to: p.o.Progress}
	to.tell(ProgressEvent{Kind: PullStarted})
	id, err := p.copyIn(ctx, sources[0], a, to)
	if err != nil {
		return Image{}, transferError(sources[0].label, "", err)
	}
	return p.pulled(id, p.o.Owner, to, PullDone)
}

// remote is Pull of a name.
func (p puller) remote(ctx context.Context, ref string) (Image, error) {
	p.o.Policy = cmp.Or(p.o.Policy, PullAlways)
	var here *storage.Image
	if p.o.Policy != PullAlways {
		im, _, err := p.find(ctx, ref)
		switch {
		case err == nil && p.forPlatform(im):
			here = im
		case err != nil && !errdefs.IsNotFound(err):
			return Image{}, err
		}
		if here != nil && p.o.Policy != PullNewer {
			return p.pulled(here.ID, p.o.Owner, &progress{ref: ref, to: p.o.Progress}, PullSkipped)
		}
		if p.o.Policy == PullNever {
			return Image{}, notFound(ref)
		}
	}
	if isFullID(ref) || strings.HasPrefix(ref, "sha256:") {
		return Image{}, fmt.Errorf("image %q: an ID says no registry to pull it from: %w", ref, errdefs.ErrNotFound)
	}
	sysregistriesv2.InvalidateCache() // a server outlives changes of registries.conf
	names, err := p.remoteNames(ref)
	if err != nil {
		return Image{}, err
	}
	var errs []error
	for _, named := range names {
		im, err := p.named(ctx, named, here)
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

// remoteNames are the full names to try for ref.
func (p puller) remoteNames(ref string) ([]reference.Named, error) {
	names, err := remoteNames(p.systemContext(access{}), ref)
	var short *ShortNameError
	if errors.As(err, &short) && p.o.DockerIO && !short.Ambiguous {
		named, perr := reference.ParseNormalizedNamed(ref)
		if perr != nil {
			return nil, err
		}
		return []reference.Named{complete(named)}, nil
	}
	return names, err
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

// named pulls one full name, unless somebody else just does. Here is the image
// that is in the store already, of a caller that wants a newer one only.
func (p puller) named(ctx context.Context, named reference.Named, here *storage.Image) (Image, error) {
	p.o.Registry.Creds = p.o.Registry.Creds.at(reference.Domain(named))
	to := &progress{ref: named.String(), to: p.o.Progress, stall: p.cfg.Stall}
	lock, err := p.lockPull(ctx, p.key(named), func() { to.tell(ProgressEvent{Kind: PullWaiting}) })
	if err != nil {
		return Image{}, transferError(named.String(), "", err)
	}
	defer lock.release()
	if err := failpoint.Reach(ctx, failpoint.PullLocked); err != nil {
		return Image{}, err
	}
	if lock.result != "" {
		return p.pulled(lock.result, p.o.Owner, to, PullSkipped)
	}
	if p.o.Policy == PullMissing {
		im, _, err := p.find(ctx, named.String())
		if err == nil && p.forPlatform(im) {
			return p.pulled(im.ID, p.o.Owner, to, PullSkipped)
		}
	}
	temp, done, err := p.tempDir()
	if err != nil {
		return Image{}, err
	}
	defer done()
	if err := failpoint.Reach(ctx, failpoint.PullFolder); err != nil {
		return Image{}, err
	}
	a := access{registry: p.o.Registry, platform: p.o.Platform, temp: temp}
	src, err := remoteSource(named)
	if err != nil {
		return Image{}, err
	}
	to.tell(ProgressEvent{Kind: PullStarted})
	if here != nil && p.current(ctx, src, a, here) {
		return p.pulled(here.ID, p.o.Owner, to, PullSkipped)
	}
	others, err := p.othersImages()
	if err != nil {
		return Image{}, err
	}
	var id string
	err = retrying(ctx, retries{p.o.Retries, p.o.RetryDelay}, to, func() (err error) {
		id, err = p.copyIn(ctx, src, a, to)
		return transferError(src.label, src.host, err)
	})
	if err != nil {
		return Image{}, err
	}
	owner := p.o.Owner
	if others[id] {
		owner = "" // it was somebody else's before, and stays so
	}
	im, err := p.pulled(id, owner, to, PullDone)
	if err == nil {
		lock.publish(id)
		err = failpoint.Reach(ctx, failpoint.PullPublished)
	}
	return im, err
}

// othersImages are the IDs of the images that no owner has pulled: they were
// brought by another program.
func (r *records) othersImages() (map[string]bool, error) {
	all, err := whole.Images(r.storage())
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for i := range all {
		if !slices.ContainsFunc(all[i].BigDataNames, func(n string) bool { return strings.HasPrefix(n, pulledKey) }) {
			out[all[i].ID] = true
		}
	}
	return out, nil
}

// key tells apart pulls that must not join: of other images, and of callers
// that the registry might answer otherwise.
func (p puller) key(named reference.Named) string {
	key, err := json.Marshal([]any{named.String(), p.o.Platform, p.o.Registry})
	if err != nil {
		return named.String()
	}
	return string(key)
}

// forPlatform says whether a local image will do for the platform asked for.
func (p puller) forPlatform(im *storage.Image) bool {
	if p.o.Platform == (Platform{}) {
		return true
	}
	cfg, err := p.readConfig(im)
	return err == nil && p.o.Platform.matches(Image{OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant})
}

// current says whether the local image will do for a caller that wants a newer
// one: it is the registry's, or the registry does not say.
func (p puller) current(ctx context.Context, src source, a access, here *storage.Image) bool {
	d, err := docker.GetDigest(ctx, p.systemContext(a), src.ref)
	if err != nil {
		if ctx.Err() == nil {
			p.log.Warn("the local image is used, as its registry does not answer", "image", src.label, "error", lastCause(err))
		}
		return ctx.Err() == nil
	}
	return slices.Contains(here.Digests, d)
}

// retries are how often and after what time to try again; see PullOptions.
type retries struct {
	count int
	delay time.Duration
}

// retrying calls attempt until it succeeds, fails for good, or has failed too
// often.
func retrying(ctx context.Context, r retries, to *progress, attempt func() error) error {
	left, delay := cmp.Or(r.count, defaultRetries), cmp.Or(r.delay, defaultRetryDelay)
	for {
		err := attempt()
		if err == nil || left <= 0 || ctx.Err() != nil || !isTransient(err) {
			return err
		}
		left--
		to.tell(ProgressEvent{Kind: Retrying, Err: err, Wait: delay})
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		delay *= 2
	}
}

// pulled records who pulled an image, tells the caller's progress that it is
// there, and describes it.
func (c *core) pulled(id, owner string, p *progress, kind ProgressKind) (Image, error) {
	im, err := c.byID(id)
	if err == nil && im == nil {
		err = notFound(id) // removed meanwhile
	}
	if err != nil {
		return Image{}, err
	}
	changed := kind == PullDone
	if key := pulledKey + owner; owner != "" && !im.ReadOnly && !slices.Contains(im.BigDataNames, key) {
		// An image that is here and has no owner is somebody else's, and stays so.
		if kind == PullDone || slices.ContainsFunc(im.BigDataNames, func(n string) bool { return strings.HasPrefix(n, pulledKey) }) {
			if err := c.storage().SetImageBigData(id, key, []byte("1"), nil); err != nil {
				return Image{}, fmt.Errorf("recording who pulled %s: %w", p.ref, err)
			}
			if im, err = c.storage().Image(id); err != nil {
				return Image{}, fmt.Errorf("looking up image %s: %w", id, err)
			}
			changed = true
		}
	}
	if changed {
		if err := c.intake.persist(); err != nil {
			return Image{}, err
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
