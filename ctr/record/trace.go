package record

import "context"

// StageLock is the stage of an operation that waits for the one before it.
const StageLock = "lock"

// Step is what an operation has come to.
type Step struct {
	Noun string // what the object is, "pod" or "container"
	ID   string
	Kind string // the operation's
	// Stage is "" at the operation's beginning, StageLock while it waits to
	// begin, else what Advance wrote.
	Stage string
	// Over says that the operation has ended, however: nothing more comes of it.
	Over bool
}

type traceKey struct{}

// WithTrace returns a context whose operations, those that Create and Begin
// start with it, and spans tell trace of every step: it is called as each step
// begins, and once when the operation is over. Calls for one operation come one
// after the other; trace is to be quick, and must not touch the operation.
func WithTrace(ctx context.Context, trace func(Step)) context.Context {
	return context.WithValue(ctx, traceKey{}, trace)
}

// Span tells of a stretch of work that is no step of an operation, on the object
// with an ID, which may be empty: that it begins, and, when done is called, that it
// is over. Those of one name and ID come one after the other.
func Span(ctx context.Context, name, id string) (done func()) {
	trace, ok := ctx.Value(traceKey{}).(func(Step))
	if !ok {
		return unfollowed
	}
	s := Step{ID: id, Kind: name}
	trace(s)
	return func() {
		s.Over = true
		trace(s)
	}
}

func unfollowed() {}

// traceOf is what WithTrace has set, or nothing at all.
func traceOf(ctx context.Context) func(Step) {
	if trace, ok := ctx.Value(traceKey{}).(func(Step)); ok {
		return trace
	}
	return func(Step) {}
}

// follow tells trace of the operation from now on.
func (o *Op) follow(trace func(Step)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trace = trace
	o.step(false)
}

// step tells of what the operation has come to; o.mu is held.
func (o *Op) step(over bool) {
	if o.trace != nil {
		o.trace(Step{Noun: o.l.noun(), ID: o.id, Kind: o.text.Kind, Stage: o.text.Stage, Over: over})
	}
}
