package ctr

import "io"

// Streams are a client's ends of a container's standard streams.
type Streams struct {
	// Stdin is copied to the container; nil sends nothing.
	Stdin io.Reader
	// Stdout and Stderr receive the output; a nil one is dropped. With a
	// terminal everything comes on Stdout.
	Stdout, Stderr io.Writer
	// Resize delivers the client's terminal sizes; nil where it has none.
	Resize <-chan Size
	// DetachKeys is the byte sequence that ends the session and leaves the
	// container alone; empty disables it.
	DetachKeys []byte
	// Dropped, where it is set, keeps an attached client from holding the
	// container up: output that it does not take in time is thrown away, and
	// Dropped is told how many bytes were, between what came before and after.
	Dropped func(bytes int64)
}
