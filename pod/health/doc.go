// Package health looks after the containers of a pod that no user and no kubelet
// looks after: it starts those again whose restart policy says so, and checks the
// health of those that have a health check.
//
// The terms:
//
//   - The timer process of a pod is a davit of its own that waits for what is to
//     be done next. There is one while there is something to wait for: a container
//     that is to be started again, or one that runs and is checked. It holds a
//     flock on the file "timer" of the pod's run folder for as long, so that there
//     are never two.
//   - A check is one run of a container's health command. What it has shown is in
//     the container's status.
//
// The timer process is crash-only. All that it goes by is on record, written by
// others before it is needed; killed at any moment, it leaves a free lock, and
// whoever comes next has another one begin: a changing command, the exit command of
// any container, the server's start.
package health
