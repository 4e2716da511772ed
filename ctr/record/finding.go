package record

import "context"

// Finding is something that does not agree with the rest: a record without what it
// stands for, or something on the machine that no record stands for.
type Finding struct {
	// Kind is what sort of thing it is, in the field's words: "mount",
	// "container record", "cgroup".
	Kind string `json:"kind"`
	// Object names it: an ID, a path, an address.
	Object string `json:"object"`
	// Problem says what is wrong with it.
	Problem string `json:"problem"`
	// Repair says what Mend does or, where that is nil, what is left to whoever
	// reads it.
	Repair string `json:"repair"`
	// Mend puts it right. It looks again first, touches nothing that is sound by
	// now or that somebody is at work on, and is harmless when it is called twice.
	// ErrUnavailable says that somebody is at work on it.
	Mend func(context.Context) error `json:"-"`
}
