// Package pod drives the life of sandboxes (pods): the namespaces, the cgroup
// parent, the network and the files that containers share; and it drives what
// a container's life needs of its sandbox (run, start, stop, remove, and the
// clean-up after an exit), which is where both halves meet.
//
// Terms: a sandbox is explicit when somebody asked for it, implicit when it was
// made for one container and goes with it; it is ready when its namespaces and
// its network exist; infra is the container that holds a shared PID namespace
// open.
package pod
