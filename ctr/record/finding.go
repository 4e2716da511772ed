package record

import (
	"context"
	"errors"
)

// Finding is one thing in which the machine does not agree with the records, or
// the records with each other.
type Finding struct {
	// Kind is what sort of thing it is: "operation", "mount", "cgroup", …
	Kind string `json:"kind"`
	// Object names it, and with it whose it is.
	Object string `json:"object"`
	// Problem says what is wrong with it.
	Problem string `json:"problem"`
	// Repair is what Mend does, or what a person is to do where there is none:
	// a phrase like "unmount it".
	Repair string `json:"repair"`
	// Loses says that Mend takes away something that may be wanted: it is for
	// those who ask for it by force.
	Loses bool `json:"loses,omitempty"`
	// Mend repairs it, under the locks of whatever it touches; a *BusyError when
	// somebody is at work there. It looks again first, and does nothing to what is
	// as it should be by then, so that it may be repeated. Nil where nothing but a
	// person can.
	Mend func(ctx context.Context) error `json:"-"`
	// Until waits for what may end by itself in a moment, as a process that is on
	// its way out, until ctx ends. Nil waits for nothing.
	Until func(ctx context.Context) `json:"-"`
}

// Same tells whether two findings are of one and the same thing.
func (f Finding) Same(o Finding) bool {
	return f.Kind == o.Kind && f.Object == o.Object && f.Problem == o.Problem
}

// Use says what an object of some ID may have on the machine, for those who keep
// resources by the IDs of objects.
type Use int

// The uses, as they are seen without a lock.
const (
	// Gone is that there is neither a record nor an operation: whatever carries
	// the ID is nobody's.
	Gone Use = iota
	// Idle is that there is a record which holds nothing, and nobody is at work on
	// it.
	Idle
	// Held is that the object may hold something, or get it at any moment.
	Held
)

// Owners tell whose a resource is. A resource that was there before it was asked
// whose it is, still is afterwards, and is not held, was left behind: objects are
// on record before they get anything, and until after they have given it back.
type Owners struct {
	// Use is what an object may have.
	Use func(id string) Use
	// Locked runs f while nobody else works on the object, unless that holds
	// something by then. It is a *BusyError when somebody is at work on it.
	Locked func(id string, f func() error) error
	// Busy tells whether an operation on the object is written down, under way or
	// dead.
	Busy func(id string) bool
}

// Mend makes the Mend of a finding about something that an object has left.
func (o Owners) Mend(id string, f func(ctx context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		return o.Locked(id, func() error { return f(ctx) })
	}
}

// Owners tell of the objects of this Dir: Gone where there is none, Idle where idle
// says so of what is read, else Held.
func (d *Dir[C, S]) Owners(idle func(Entry[C, S]) bool) Owners {
	return Owners{
		Use:    func(id string) Use { return use(d, id, idle) },
		Locked: func(id string, f func() error) error { return locked(d, id, idle, f) },
		Busy:   func(id string) bool { return d.l.checkID(id) == nil && d.l.opWritten(id) },
	}
}

func use[C, S any](d *Dir[C, S], id string, idle func(Entry[C, S]) bool) Use {
	if d.l.checkID(id) != nil {
		return Gone
	}
	// In the order in which Create makes them, backwards: an object that comes to
	// be meanwhile is seen.
	if !exists(d.l.rootDir(id)) && !d.l.opWritten(id) {
		if exists(d.l.rootDir(id)) {
			return Held
		}
		return Gone
	}
	e, err := d.Get(id)
	if err != nil || e.Op != nil || e.Damaged != nil || !idle(e) || d.l.opWritten(id) {
		return Held
	}
	return Idle
}

func locked[C, S any](d *Dir[C, S], id string, idle func(Entry[C, S]) bool, f func() error) error {
	if use(d, id, idle) == Gone {
		return f() // an ID is never given twice
	}
	op, err := d.TryBegin(id, KindCheck)
	if isNotFound(err) {
		return f()
	}
	if err != nil {
		return err
	}
	if prior, dead := op.Prior(); dead {
		op.Abandon() // a finding of its own
		return &BusyError{ID: id, Holder: prior}
	}
	e, err := d.Get(id)
	if err == nil && e.Damaged == nil && idle(e) {
		err = f()
	}
	return errors.Join(err, op.End())
}

// KindCheck is the kind of the operation under which something is mended that an
// object has left. One that a dead owner left is over: nothing is to be undone.
const KindCheck = "check"
