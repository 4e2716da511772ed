package telemetry

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/davit-containers/davit/ctr/record"
)

// maxStages bounds what is kept of a call.
const maxStages = 64

// stage is a step of an operation.
type stage struct {
	id, name   string // name is "container start mount": of what, the operation, its step
	begin, end time.Time
	open       bool // not ended when the call did
}

// stages are those of one call.
type stages struct {
	now func() time.Time

	mu     sync.Mutex
	all    []stage
	open   map[[2]string]int // the stage that an operation is in, by object and kind
	closed bool
}

// follow returns a context whose operations are written down. Work that goes on
// without the call, after its end, is not.
func (s *stages) follow(ctx context.Context) context.Context { return record.WithTrace(ctx, s.step) }

func (s *stages) step(step record.Step) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	key := [2]string{step.ID, step.Kind}
	if i, ok := s.open[key]; ok {
		s.all[i].end, s.all[i].open = now, false
		delete(s.open, key)
	}
	if step.Over || len(s.all) == maxStages {
		return
	}
	if s.open == nil {
		s.open = map[[2]string]int{}
	}
	s.open[key] = len(s.all)
	s.all = append(s.all, stage{id: step.ID, name: strings.TrimSpace(step.Noun + " " + step.Kind + " " + step.Stage), begin: now, open: true})
}

// close ends the stages under way, with the call, and tells when.
func (s *stages) close() time.Time {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, i := range s.open {
		s.all[i].end = now
	}
	return now
}

// list are the stages of a call that was closed.
func (s *stages) list() []stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

func (s *stages) text() string {
	var parts []string
	for _, st := range s.list() {
		took := st.end.Sub(st.begin)
		switch {
		case st.open:
			parts = append(parts, fmt.Sprintf("%s %s and under way", st.name, took.Round(time.Millisecond)))
		case took >= time.Millisecond:
			parts = append(parts, fmt.Sprintf("%s %s", st.name, took.Round(time.Millisecond)))
		}
	}
	return strings.Join(parts, ", ")
}
