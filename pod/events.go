package pod

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// EventKind says what happened to a container or a sandbox.
type EventKind string

// The kinds of events, in the order in which an object goes through them; one
// that is started again is started and stopped again.
const (
	EventCreated EventKind = "created"
	EventStarted EventKind = "started"
	EventStopped EventKind = "stopped"
	EventDeleted EventKind = "deleted"
)

// Event is something that happened to one of the kubelet's containers or
// sandboxes, whoever brought it about.
type Event struct {
	Kind EventKind
	// ID is the container's, or the sandbox's.
	ID string
	At time.Time
	// Sandbox is the one that it is about, as it was then, or last; Containers are
	// those of the sandbox, without infra. They are shared: not to be changed.
	Sandbox    Sandbox
	Containers []ctr.Container
}

// eventBuffer is how many events a subscriber may be behind.
const eventBuffer = 1024

// Subscription is one reader of events. Its methods are for one goroutine.
type Subscription struct {
	from *tracker
	ch   chan Event // closed when the reader was too slow
}

// Events subscribes to what happens from now on. Controller must be kept (see
// Keep), else ErrFailedPrecondition. Close the subscription.
func (c *Controller) Events() (*Subscription, error) {
	return c.events.subscribe()
}

// Next waits for the next event: each comes once, those of one object in their
// order. A reader that is too far behind gets what was kept for it, and then
// ErrResourceExhausted; ErrUnavailable when the Controller is kept no longer.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	select {
	case e, ok := <-s.ch:
		if ok {
			return e, nil
		}
		return Event{}, s.from.why(s)
	case <-ctx.Done():
		return Event{}, ctx.Err()
	}
}

// Close ends the subscription. It may be repeated.
func (s *Subscription) Close() { s.from.drop(s) }

// tracker makes events of what the records say, by comparing what they say now
// with what was told last. It holds nothing that is not found again by looking.
type tracker struct {
	pods *records

	mu      sync.Mutex
	active  bool
	seen    map[string]*trace
	readers map[*Subscription]bool // true for one that events were lost for
}

// trace is what was told of one object.
type trace struct {
	sandbox string // its own ID for a sandbox
	last    Sandbox
	// started is the start that was told last, stopped that its end was.
	started time.Time
	stopped bool
}

func (t *tracker) subscribe() (*Subscription, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.active {
		return nil, fmt.Errorf("events are told by a server only: %w", errdefs.ErrFailedPrecondition)
	}
	s := &Subscription{from: t, ch: make(chan Event, eventBuffer)}
	t.readers[s] = false
	return s, nil
}

func (t *tracker) drop(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.readers, s)
}

// why says why a subscription has ended.
func (t *tracker) why(s *Subscription) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.readers[s] {
		return fmt.Errorf("events were lost: their reader was more than %d behind: %w", eventBuffer, errdefs.ErrResourceExhausted)
	}
	return fmt.Errorf("events have ended: %w", errdefs.ErrUnavailable)
}

// begin takes what there is as told.
func (t *tracker) begin(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen, t.readers = map[string]*trace{}, map[*Subscription]bool{}
	if err := t.all(ctx); err != nil {
		return err
	}
	t.active = true
	return nil
}

// end ends all subscriptions.
func (t *tracker) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active = false
	for s, lost := range t.readers {
		if !lost {
			close(s.ch)
		}
	}
}

// sandboxChanged tells what has happened to a sandbox; to any object, for an empty
// ID.
func (t *tracker) sandboxChanged(ctx context.Context, id string) { t.changed(ctx, id, t.sandbox) }

// containerChanged is the same for containers.
func (t *tracker) containerChanged(ctx context.Context, id string) {
	t.changed(ctx, id, t.container)
}

func (t *tracker) changed(ctx context.Context, id string, tell func(id string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.active:
	case id != "":
		tell(id)
	default:
		if err := t.all(ctx); err != nil {
			t.pods.o.Log.Warn("looking for events after some were lost", "error", err)
		}
	}
}

// all compares all objects with what was told of them. t.mu is held.
func (t *tracker) all(ctx context.Context) error {
	pods, err := t.pods.List(ctx)
	if len(pods) == 0 && err != nil {
		return err
	}
	ctrs, err := t.pods.ctrs.List(ctx)
	if len(ctrs) == 0 && err != nil {
		return err
	}
	there := map[string]bool{}
	for _, s := range pods {
		there[s.ID] = true
		t.sandbox(s.ID)
	}
	for _, k := range ctrs {
		there[k.ID] = true
		t.container(k.ID)
	}
	for _, sandboxes := range []bool{false, true} { // containers go before theirs
		for id, tr := range t.seen {
			if !there[id] && (tr.sandbox == id) == sandboxes {
				t.gone(id, tr)
			}
		}
	}
	return nil
}

// sandbox compares a sandbox with what was told of it. t.mu is held.
func (t *tracker) sandbox(id string) {
	tr := t.seen[id]
	s, err := t.pods.now(id)
	switch {
	case errdefs.IsNotFound(err) && tr != nil:
		t.gone(id, tr)
		return
	case err != nil, s.Config.Owner != record.OwnerCRI, tr == nil && !s.Made():
		return
	case tr == nil:
		tr = &trace{sandbox: id, stopped: true}
		t.seen[id] = tr
		tr.last = s
		t.emit(EventCreated, id, s)
	}
	tr.last = s
	if at := s.Status.StartedAt; at.After(tr.started) {
		t.start(id, tr, at)
	}
	if s.Status.State != Ready {
		t.stop(id, tr)
	}
}

// container compares a container with what was told of it. t.mu is held.
func (t *tracker) container(id string) {
	tr := t.seen[id]
	k, err := t.pods.ctrs.Now(id)
	switch {
	case errdefs.IsNotFound(err) && tr != nil:
		t.gone(id, tr)
		return
	case err != nil, k.Config.Owner != record.OwnerCRI, k.Config.Infra:
		return
	case tr == nil && k.Status.State == ctr.Created && !k.Status.Prepared:
		return // it is being made
	case tr == nil:
		tr = &trace{sandbox: k.Config.Sandbox, stopped: true}
		t.seen[id] = tr
		t.emit(EventCreated, id, t.sandboxOf(tr))
	}
	if at := k.Status.StartedAt; at.After(tr.started) {
		t.start(id, tr, at)
	}
	if s := k.Status; s.State == ctr.Stopped || s.State == ctr.Removing {
		t.stop(id, tr)
	}
}

func (t *tracker) start(id string, tr *trace, at time.Time) {
	t.stop(id, tr) // an end that was not seen
	tr.started, tr.stopped = at, false
	t.emit(EventStarted, id, t.sandboxOf(tr))
}

func (t *tracker) stop(id string, tr *trace) {
	if tr.stopped {
		return
	}
	tr.stopped = true
	t.emit(EventStopped, id, t.sandboxOf(tr))
}

func (t *tracker) gone(id string, tr *trace) {
	t.stop(id, tr)
	delete(t.seen, id)
	t.emit(EventDeleted, id, t.sandboxOf(tr))
}

// sandboxOf is an object's sandbox as it is, or was last.
func (t *tracker) sandboxOf(tr *trace) Sandbox {
	if s, err := t.pods.now(tr.sandbox); err == nil {
		tr.last = s
	} else if of := t.seen[tr.sandbox]; of != nil {
		tr.last = of.last
	}
	return tr.last
}

// emit gives an event to all readers. One that has no room for it is at its end.
func (t *tracker) emit(kind EventKind, id string, s Sandbox) {
	if !t.active || len(t.readers) == 0 {
		return
	}
	e := Event{Kind: kind, ID: id, At: t.pods.o.Now(), Sandbox: s}
	for _, k := range t.pods.ctrs.In(s.ID) {
		if !k.Config.Infra {
			e.Containers = append(e.Containers, k)
		}
	}
	for r, lost := range t.readers {
		if lost {
			continue
		}
		select {
		case r.ch <- e:
		default:
			t.readers[r] = true
			close(r.ch)
		}
	}
}
