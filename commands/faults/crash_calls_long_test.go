//go:build faultslong && amd64

package faults

import "testing"

// A davit, or a runtime, a monitor, a plugin that works for it, may be killed at any
// system call that is a side effect.
func TestCrashCalls(t *testing.T) {
	r := newRig(t)
	for _, o := range append(operations(), tryouts()...) {
		r.on(o, func(*testing.T) { r.killedAtCalls(o, r.traced, 1, 1) })
	}
}
