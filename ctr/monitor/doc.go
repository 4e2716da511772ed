// Package monitor runs conmon, the monitor: one process a container that
// outlives the engine, holds the container's streams, writes its log, serves
// attach clients and records its exit. conmon 2.1.6 and newer are known.
//
// [Fork] executes the monitor and leaves it held on a pipe, so that it can be
// loaded and put into its cgroup while the bundle is still being made;
// [Starting.Create] releases it, and it runs the OCI runtime's create.
//
// What the monitor leaves on disk is the evidence that [Wait] and [ReadExit]
// read. The order is: no exit file and a live monitor, the container runs or is
// exiting; a dead monitor, and then no exit file, its exit is [Exit.Lost].
//
// The attach socket lies in the bundle (--full-attach) and is bound and
// connected to through a descriptor of the bundle, so that a bundle's path may
// be longer than sun_path's 108 bytes. The monitor listens before it answers
// Create: a client that connects between Create and the runtime's start misses
// nothing.
//
// [Signal] and [AwaitGone] address a process by pid and start time, through a
// pidfd, so that a pid that was reused meanwhile is never touched.
package monitor
