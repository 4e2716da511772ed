package img

import (
	"strings"
	"sync"
	"time"

	"go.podman.io/image/v5/types"
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

// drain takes the library's events until the channel is closed; done is closed
// then. The library blocks on a channel that nobody reads.
func (p *progress) drain(from <-chan types.ProgressProperties) (done <-chan struct{}) {
	end := make(chan struct{})
	go func() {
		defer close(end)
		for e := range from {
			out := ProgressEvent{
				Digest: e.Artifact.Digest.String(), Config: strings.Contains(e.Artifact.MediaType, "config") || strings.Contains(e.Artifact.MediaType, "container.image"),
				Offset: int64(e.Offset), Total: e.Artifact.Size,
			}
			switch e.Event {
			case types.ProgressEventNewArtifact:
				out.Kind = BlobStarted
			case types.ProgressEventRead:
				out.Kind = BlobProgress
			case types.ProgressEventDone:
				out.Kind = BlobDone
			case types.ProgressEventSkipped:
				out.Kind = BlobSkipped
			default:
				continue
			}
			p.tell(out)
		}
	}()
	return end
}
