// Package ctr drives the life of containers: it records them, prepares their
// root filesystem and bundle, has a monitor run the OCI runtime, and settles
// what became of them.
//
// Terms: a container lives in a sandbox (package pod), which gives it the
// namespaces, the cgroup parent and the files that it shares with its
// neighbours; the bundle is the folder that the runtime is started from; the
// monitor is the process (conmon) that holds the container's streams, writes
// its log and records its exit code; an operation is a change under way,
// written down before its first side effect (package ctr/record).
//
// The disk is the truth. A Controller keeps nothing in memory that a second
// process would need, so any number of processes may drive the same
// containers at once.
package ctr
