// Package ctrcmd has the verbs about containers: run, create, start, stop and
// their like, at the top level and below container.
//
// A verb is one file: its flags, how they are read (tested alone), and what is
// asked of the engine. What verbs share is in find.go (from what the user typed
// to containers), session.go and signals.go (a client's terminal) and launch.go
// (from flags to a container). Flags of run and create are in package options,
// what is printed about containers in package show, and what is printed while it
// changes in package live.
package ctrcmd
