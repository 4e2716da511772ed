// Package leftover lists what of pods and containers is on the machine by what the
// machine itself says, whatever the records are: mounts, monitors, runs of OCI
// runtimes. Each is told with the ID that it carries.
package leftover
