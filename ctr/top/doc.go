// Package top tells what runs in a container, from /proc of the host alone:
// nothing of the container's is ever executed for it.
//
// Terms: a descriptor names a column, as in ps(1): user, pid, ppid, pcpu,
// etime, tty, time, comm, args and so on; those with an "h" before them show
// the host's view.
package top
