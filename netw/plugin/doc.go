// Package plugin runs CNI plugins for libcni: under a deadline, as a process
// group that is killed whole, and with bounded output.
package plugin
