package img

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/copy"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/img/reserve"
	"github.com/davit-containers/davit/img/staging"
)

// maxOvertaken is how often a copy begins again because a removal took its
// layers away.
const maxOvertaken = 10

// copyIn copies one image into the store and returns its ID. A layer that another
// process may have taken files from while it was extracted (see package staging) is
// read again, and brought again if it is damaged.
func (c *core) copyIn(ctx context.Context, src source, a access, p *progress) (id string, err error) {
	began := time.Now()
	defer func() { err = errors.Join(err, c.intake.relink()) }()
	for n := 0; ; n++ {
		var unguarded bool
		unguarded, err = guarded(c.storage(), func() (err error) {
			id, err = c.copyOnce(ctx, src, a, p)
			return err
		})
		if err == nil && unguarded {
			if err = intact(c.storage(), id, began); err != nil {
				c.log.Warn("an image is brought again", "image", src.label, "error", err)
				err = errors.Join(err, c.deleteImage(id, id))
			}
		}
		again := unguarded || err != nil && isOvertaken(err)
		if err == nil || n == maxOvertaken || ctx.Err() != nil || !again {
			if reserve.IsFull(err) {
				err = errors.Join(fullStore(c.storage(), err), giveUp(c.storage(), p, began))
			}
			return id, err
		}
	}
}

// fullStore is the error of a transfer for which a store has no room: it says which
// file system that is, and is ErrResourceExhausted.
func fullStore(store storage.Store, err error) error {
	disk, known := record.DiskFaultOf(err)
	if !known || disk.Path == "" {
		disk = record.DiskFault{Path: store.GraphRoot(), Errno: unix.ENOSPC} // a child of the library's said so
	}
	return &classified{
		msg: "no space left for it: " + disk.String(), class: []error{errdefs.ErrResourceExhausted},
		cause: errors.Join(&fs.PathError{Op: "writing", Path: disk.Path, Err: disk.Errno}, err),
	}
}

// giveUp removes the layers that a transfer has brought since it began, for what it
// left no room: they would be in the way of all else until somebody prunes.
func giveUp(store storage.Store, p *progress, began time.Time) error {
	_, err := pruneSome(store, func(l *storage.Layer) bool { return !l.Created.Before(began) && p.brought(l.CompressedDigest) })
	return err
}

// guarded runs f, which extracts or deletes layers, and says whether a temporary
// folder of the store may have been without its guard meanwhile. Where that cannot
// be watched it may have been.
func guarded(store storage.Store, f func() error) (unguarded bool, err error) {
	watch, err := staging.Begin(tempFolders(store)...)
	if err != nil {
		return true, f()
	}
	err = f()
	unguarded, watchErr := watch.End()
	return unguarded || watchErr != nil, err
}

// tempFolders are where the store has its temporary folders.
func tempFolders(store storage.Store) []string {
	driver := filepath.Join(store.GraphRoot(), store.GraphDriverName())
	out := []string{filepath.Join(driver+"-layers", "tmp")}
	if name := store.GraphDriverName(); name == "overlay" || name == "vfs" {
		out = append(out, filepath.Join(driver, "tempdirs"))
	}
	return out
}

// rooms are where a store keeps a reserve for when it is full.
func rooms(store storage.Store) reserve.Rooms { return reserve.Of(store.GraphRoot(), store.RunRoot()) }

// deleting runs f, which deletes layers, and then whatever of them it may have left
// because its temporary folders were not guarded. On a full store it has some room.
func deleting(store storage.Store, f func() error) error {
	inRoom := func() error { return rooms(store).Use(f) }
	unguarded, err := guarded(store, inRoom)
	if !unguarded {
		return err
	}
	return deleteRest(store, inRoom, err)
}

// deletingWritable is deleting for the one layer that a root filesystem is written
// to. All there is of it is its folder, and where that is still there it was left;
// a watch would tell the same, but the kernel takes 8 to 16 ms to end one.
func deletingWritable(store storage.Store, layer string, f func() error) error {
	inRoom := func() error { return rooms(store).Use(f) }
	err := inRoom()
	left := errors.Is(err, fs.ErrNotExist)
	if err == nil {
		driver, err := store.GraphDriver()
		left = err != nil || driver.Exists(layer)
	}
	if !left {
		return err
	}
	return deleteRest(store, inRoom, err)
}

// deleteRest deletes what a deletion, which ended with err, has left.
func deleteRest(store storage.Store, again func() error, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = again()
	}
	return errors.Join(err, store.GarbageCollect())
}

// intact compares those layers of an image that are no older than since with
// their digests. A layer that differs is ErrDataLoss.
func intact(store storage.Store, id string, since time.Time) error {
	im, err := store.Image(id)
	if err != nil {
		return fmt.Errorf("looking up image %s: %w", id, err)
	}
	plain := archive.Uncompressed
	for next := im.TopLayer; next != ""; {
		l, err := store.Layer(next)
		if err != nil {
			return fmt.Errorf("looking up layer %s: %w", next, err)
		}
		if next = l.Parent; l.Created.Before(since) || l.UncompressedDigest == "" {
			continue
		}
		content, err := store.Diff("", l.ID, &storage.DiffOptions{Compression: &plain})
		if err != nil {
			return fmt.Errorf("reading layer %s: %w", l.ID, errors.Join(errdefs.ErrDataLoss, err))
		}
		got, err := l.UncompressedDigest.Algorithm().FromReader(content)
		if err := errors.Join(err, content.Close()); err != nil {
			return fmt.Errorf("reading layer %s: %w", l.ID, errors.Join(errdefs.ErrDataLoss, err))
		}
		if got != l.UncompressedDigest {
			return fmt.Errorf("layer %s is not what was extracted: %w", l.ID, errdefs.ErrDataLoss)
		}
	}
	return nil
}

// copyOnce is copyIn, once. The image has all its names, or does not exist.
func (c *core) copyOnce(ctx context.Context, src source, a access, p *progress) (string, error) {
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
	if err := p.watched(ctx, &opts, func(ctx context.Context) error {
		_, err := copy.Image(ctx, policy, dest, src.ref, &opts)
		return err
	}); err != nil {
		return "", err
	}
	if resolved == nil {
		return "", fmt.Errorf("storing %q: the store did not say which image it made: %w", src.label, errdefs.ErrInternal)
	}
	_, im, err := istorage.ResolveReference(resolved)
	if err != nil {
		return "", fmt.Errorf("storing %q: %w", src.label, err)
	}
	if err := failpoint.Reach(ctx, failpoint.PullStored); err != nil {
		return "", err
	}
	if len(src.names) > 0 {
		names := make([]string, len(src.names))
		for i, n := range src.names {
			names[i] = n.String()
		}
		if err := c.storage().AddNames(im.ID, names); err != nil {
			return "", fmt.Errorf("naming %q: %w", src.label, err)
		}
	}
	if err := failpoint.Reach(ctx, failpoint.PullNamed); err != nil {
		return "", err
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
	into, err := c.intake.synced()
	if err != nil {
		return nil, err
	}
	dest, err := istorage.Transport.NewStoreReference(into, named, id)
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
		return &classified{
			msg:   fmt.Sprintf("no image found in it for %s: it is for %s", p, Platform{info.Os, info.Architecture, info.Variant}),
			class: []error{errdefs.ErrNotFound},
		}
	}
	return nil
}
