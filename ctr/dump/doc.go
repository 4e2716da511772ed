// Package dump knows the files that a dump of a container consists of, and reads
// them as what somebody else may have written.
//
// The names are those that podman, CRI-O and checkpointctl know.
package dump
