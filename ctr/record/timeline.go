package record

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxStages bounds what a Timeline keeps.
const maxStages = 64

// Stage is a step of an operation, or another stretch of work, on a Timeline.
type Stage struct {
	// ID is the object's, Name is "container start mount": of what, the operation,
	// its step.
	ID, Name   string
	Begin, End time.Time
	// Open says that it had not ended when the timeline was closed.
	Open bool
}

// Timeline is what the operations and spans of one call took. Its methods are for
// any number of goroutines.
type Timeline struct {
	now func() time.Time

	mu     sync.Mutex
	all    []Stage
	open   map[[3]string]int // the stage that an operation is in, by what and which the object is, and kind
	closed bool
}

// NewTimeline returns an empty timeline that goes by a clock.
func NewTimeline(now func() time.Time) *Timeline { return &Timeline{now: now} }

// Follow returns a context whose operations and spans are written down. Work that
// goes on after Close is not.
func (t *Timeline) Follow(ctx context.Context) context.Context { return WithTrace(ctx, t.step) }

func (t *Timeline) step(step Step) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	key := [3]string{step.Noun, step.ID, step.Kind}
	if i, ok := t.open[key]; ok {
		t.all[i].End, t.all[i].Open = now, false
		delete(t.open, key)
	}
	if step.Over || len(t.all) == maxStages {
		return
	}
	if t.open == nil {
		t.open = map[[3]string]int{}
	}
	t.open[key] = len(t.all)
	t.all = append(t.all, Stage{ID: step.ID, Name: strings.TrimSpace(step.Noun + " " + step.Kind + " " + step.Stage), Begin: now, Open: true})
}

// Close ends the stages under way, with the call, and tells when.
func (t *Timeline) Close() time.Time {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, i := range t.open {
		t.all[i].End = now
	}
	return now
}

// Stages are those of a timeline that was closed, in the order of their beginnings.
func (t *Timeline) Stages() []Stage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}

// String has the stages of a timeline that was closed, those of a millisecond and
// more, for a log: "pod create network 50ms, container stop 1.03s and under way".
func (t *Timeline) String() string {
	var parts []string
	for _, s := range t.Stages() {
		took := s.End.Sub(s.Begin)
		switch {
		case s.Open:
			parts = append(parts, fmt.Sprintf("%s %s and under way", s.Name, took.Round(time.Millisecond)))
		case took >= time.Millisecond:
			parts = append(parts, fmt.Sprintf("%s %s", s.Name, took.Round(time.Millisecond)))
		}
	}
	return strings.Join(parts, ", ")
}
