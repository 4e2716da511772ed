// Package nspin keeps a process's namespace reachable by a path: a bind mount, so
// that no path through a pid, which may be reused, is ever used.
package nspin
