package img

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// ProgressKind says what a ProgressEvent tells.
type ProgressKind string

// The kinds of progress, in the order of a pull: one PullStarted for each name
// that is tried; for each blob either BlobSkipped, or BlobStarted, BlobProgress
// and BlobDone; Retrying in between; and at the end of a pull that succeeds
// PullDone, or PullSkipped when nothing had to be transferred.
const (
	PullStarted  ProgressKind = "pull-started"
	PullWaiting  ProgressKind = "pull-waiting" // another process is pulling the same
	BlobStarted  ProgressKind = "blob-started"
	BlobProgress ProgressKind = "blob-progress"
	BlobDone     ProgressKind = "blob-done"
	BlobSkipped  ProgressKind = "blob-skipped" // it is here already
	Retrying     ProgressKind = "retrying"
	PullDone     ProgressKind = "pull-done"
	PullSkipped  ProgressKind = "pull-skipped"
)

// progressInterval is the shortest time between two BlobProgress of one blob.
const progressInterval = 100 * time.Millisecond

// ProgressEvent is one step of a transfer.
type ProgressEvent struct {
	Kind ProgressKind
	Ref  string // the full name or location that is transferred
	// Digest, Config (not a layer), Offset and Total are of a blob. Offset and
	// Total are bytes as transferred, compressed; Total is -1 when unknown.
	Digest        string
	Config        bool
	Offset, Total int64
	// Err and Wait are of Retrying: what went wrong, and how long until the
	// next attempt.
	Err  error
	Wait time.Duration
}

// progress hands events to the caller's function, one at a time.
type progress struct {
	mu  sync.Mutex
	ref string
	to  func(ProgressEvent)
	// stall is how long the source may send nothing; 0 is for ever.
	stall time.Duration
	// blobs are those that came, or were here already.
	blobs map[string]bool
}

// brought says whether a blob was one of the transfer's.
func (p *progress) brought(d digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blobs[d.String()]
}

func (p *progress) note(blob string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blobs == nil {
		p.blobs = map[string]bool{}
	}
	p.blobs[blob] = true
}

func (p *progress) tell(e ProgressEvent) {
	if p == nil || p.to == nil {
		return
	}
	e.Ref = p.ref
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to(e)
}

// drain takes the library's events, and lets watch see them, until the channel is
// closed: then done has the blobs that were under way. The library blocks on a
// channel that nobody reads.
func (p *progress) drain(ctx context.Context, from <-chan types.ProgressProperties, watch *stallWatch, fail context.CancelCauseFunc) (done <-chan []string) {
	end := make(chan []string, 1)
	go func() {
		var open []string
		defer func() { end <- open }()
		for e := range from {
			out := ProgressEvent{
				Digest: e.Artifact.Digest.String(), Config: strings.Contains(e.Artifact.MediaType, "config") || strings.Contains(e.Artifact.MediaType, "container.image"),
				Offset: int64(e.Offset), Total: e.Artifact.Size,
			}
			switch e.Event {
			case types.ProgressEventNewArtifact:
				out.Kind = BlobStarted
				open = append(open, out.Digest)
			case types.ProgressEventRead:
				out.Kind = BlobProgress
			case types.ProgressEventDone:
				out.Kind = BlobDone
				if out.Offset >= out.Total { // it ends also where it was cut off
					open = slices.DeleteFunc(open, func(d string) bool { return d == out.Digest })
				}
				if err := failpoint.Reach(ctx, failpoint.PullBlob); err != nil {
					fail(err)
				}
			case types.ProgressEventSkipped:
				out.Kind = BlobSkipped
			default:
				continue
			}
			watch.see(out.Kind)
			p.note(out.Digest)
			p.tell(out)
		}
	}()
	return end
}

// stalledError says that a registry that was read from sent nothing for too long.
type stalledError struct{ limit time.Duration }

// Error is the end of a sentence about the registry.
func (e *stalledError) Error() string { return fmt.Sprintf("has sent nothing for %s", e.limit) }

// stallWatch ends a transfer that brings nothing. Its clock runs while the
// source is read from: until the first blob is known, and while any blob is on
// its way. It stands still while layers are unpacked.
type stallWatch struct {
	limit time.Duration
	mu    sync.Mutex
	timer *time.Timer
	open  int // blobs on their way
}

// newStallWatch returns a watch that calls stalled once the limit has passed; nil
// when there is no limit.
func newStallWatch(limit time.Duration, stalled func()) *stallWatch {
	if limit <= 0 {
		return nil
	}
	return &stallWatch{limit: limit, timer: time.AfterFunc(limit, stalled)}
}

// see takes notice of an event.
func (w *stallWatch) see(kind ProgressKind) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch kind {
	case BlobStarted:
		w.open++
	case BlobDone:
		w.open--
	}
	if w.open > 0 {
		w.timer.Reset(w.limit)
	} else {
		w.timer.Stop()
	}
}

// stop ends the watch.
func (w *stallWatch) stop() {
	if w != nil {
		w.timer.Stop()
	}
}

// watched runs a copy with opts that tell of its progress: to the caller, and to
// a watch that ends it when it stalls.
func (p *progress) watched(ctx context.Context, opts *copy.Options, run func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := newStallWatch(p.stall, func() { cancel(&stalledError{p.stall}) })
	defer watch.stop()
	events := make(chan types.ProgressProperties)
	opts.Progress, opts.ProgressInterval = events, progressInterval
	drained := p.drain(ctx, events, watch, cancel)
	err := run(ctx)
	close(events)
	open := <-drained
	var stalled *stalledError
	if err != nil && errors.As(context.Cause(ctx), &stalled) {
		return stalled
	}
	if err != nil && len(open) > 0 {
		return &blobError{open, err}
	}
	return err
}

// blobError is why a transfer failed while it brought these blobs.
type blobError struct {
	blobs []string
	cause error
}

// Error implements error.
func (e *blobError) Error() string {
	return fmt.Sprintf("bringing %s: %v", strings.Join(e.blobs, ", "), e.cause)
}

// Unwrap gives the cause.
func (e *blobError) Unwrap() error { return e.cause }
