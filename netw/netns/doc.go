// Package netns makes, pins, enters and removes the namespaces of a sandbox.
//
// A namespace is pinned by bind mounting its /proc file: it then lives without
// any process in it, which is why a sandbox needs no pause process. Pins of one
// sandbox share a folder and are named by kind: user, net, ipc, uts. A user
// namespace comes first and owns the others: a process in it has power over them
// and over nothing else.
//
// Namespaces belong to threads. Every function here that changes the namespace
// of its thread does so on a goroutine of its own, locked to its thread and
// ended with it, so that no other goroutine ever runs in the wrong namespace.
package netns
