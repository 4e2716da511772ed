// Package oci runs an OCI runtime: runc, crun, or any other binary that
// speaks the same command line.
//
// A [Runtime] is a value that names the binary and its state folder; each
// method is one run of that binary, and [Release] none where it can do without. Every run has a deadline (the context's
// or [DeadlineOf] it, whichever is earlier), a process group of its own that
// is killed when the deadline passes, and bounded output.
//
// What a runtime prints on failure becomes an [Error]: one line for people in
// Message, everything in Raw. Where the words of runc or crun are known, the
// error also carries a class of containerd/errdefs, or an [ExecutableError]
// when it is the container's own command that cannot be run.
package oci
