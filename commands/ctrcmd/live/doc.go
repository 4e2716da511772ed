// Package live prints what changes while it is printed: counters of containers
// and their logs, for one container or all of a pod.
//
// Terms: a round is one reading of all counters; a source is one container whose
// log is read.
package live
