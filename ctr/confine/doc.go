// Package confine knows what confines a process on this host: the files that
// seccomp profiles are in, the system calls that it has no need to filter, the
// filters that a runtime has compiled already, and the AppArmor profiles that the
// kernel has.
//
// What was asked for and cannot be enforced is an error, and never left out
// silently.
package confine
