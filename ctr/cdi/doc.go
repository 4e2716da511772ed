// Package cdi adds the devices that vendors describe on the host to a runtime
// spec (Container Device Interface): a device "vendor.com/class=name" stands for
// nodes, mounts, variables and hooks.
//
// The descriptions are the administrator's, and are obeyed; names come from
// requests, and only ever choose among them. The folders are read when a container
// that has such devices is prepared, and nobody watches them.
package cdi
