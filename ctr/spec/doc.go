// Package spec turns plain values into an OCI runtime spec.
//
// It is pure: it imports no os, reads no file and asks the host nothing. What
// depends on the host (its devices, capabilities, cgroup version, hard
// limits, the paths of pinned namespaces) is given by the caller in [Config].
// Both faces of davit, the command line and the CRI server, fill the same
// types, and the container records keep them as JSON.
//
// Terms: a Mount is what a user or the engine asks for at one destination; a
// namespace is private (made by the runtime), host (the runtime's own), or
// joined by path (pod, path); the base capabilities are those a container has
// before anything is added or dropped.
//
// The parsers turn what a person types (-v, --mount, --tmpfs, --device,
// --ulimit, --memory, …) into these types. A value that a parser accepts is
// printed by its String method in a form that parses to the same value.
// Everything refused is of class ErrInvalidArgument, and the message, one
// line, names the bad value and what would be right.
package spec
