// Package cgroup is the one place that knows control groups, version 1 (and the
// hybrid of both) and version 2: where the hierarchies are, the cgroups of pods
// and their limits, what is in them, and where monitors live.
//
// A path names a cgroup in every hierarchy at once: absolute, below the mounts,
// as the runtime spec's cgroupsPath is for the cgroupfs driver. With the
// systemd driver the runtime has systemd make its scopes; [Driver] names them.
//
// Containers' own cgroups are made by the OCI runtime, below their pod's.
//
// Processes are not moved between cgroups: on version 1 a write to cgroup.procs
// waits for an RCU grace period (cgroup_threadgroup_rwsem), 15 to 30 ms every
// time the machine has not just done one.
package cgroup
