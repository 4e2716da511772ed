//go:build faults && amd64

package faults

import "testing"

// A runtime that is killed, at whichever of its system calls, leaves nothing that davit
// does not clear away. The long tests do it at each call.
func TestF14RuntimeKilledAtCalls(t *testing.T) {
	r, w := runtimeRig(t, "runc")
	for _, o := range ofRuntime() {
		nth := map[string]int{"create": 15, "start": 2, "delete": 5}[o.verb]
		r.killedAt(w, o, nth, nth/2)
	}
	r.empty()
}

// The same of crun, which begins by making a copy of itself whatever it is to do.
func TestF14CrunKilledAtItsBeginning(t *testing.T) {
	r, w := runtimeRig(t, "crun")
	for _, o := range ofRuntime() {
		if o.verb == "start" {
			r.killedAt(w, o, 1, 1)
		}
	}
	r.empty()
}
