//go:build faults && amd64

package faults

import (
	"slices"
	"testing"
)

// The same where whoever makes a system call that is a side effect is killed: davit,
// a runtime, a monitor or a plugin. The long tests do it at each call.
func TestF1KilledAtSystemCalls(t *testing.T) {
	r := newRig(t)
	for name, nth := range map[string]int{"run": 35, "rm": 20} {
		at := slices.IndexFunc(operations(), func(o operation) bool { return o.name == name })
		o := operations()[at]
		r.on(o, func(*testing.T) { r.killedAtCalls(o, r.traced, nth, nth/2) })
	}
}

// Nothing stays of what a storage driver tried out when it was killed.
func TestF4KilledWhileDriverIsTriedOut(t *testing.T) {
	r := newRig(t)
	for _, o := range tryouts() {
		r.on(o, func(*testing.T) { r.killedAtCalls(o, r.traced, 4, 3) })
	}
}
