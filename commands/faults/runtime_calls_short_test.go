//go:build faults && amd64

package faults

import "testing"

// A runtime that is killed, at whichever of its system calls, leaves nothing that davit
// does not clear away. The long tests do it at each call.
func TestF14RuntimeKilledAtCalls(t *testing.T) {
	r, w := runtimeRig(t, "runc")
	for _, o := range ofRuntime() {
		nth := 15
		if o.verb != "create" { // which makes the most of them by far
			nth = 5
		}
		r.killedAt(w, o, nth, nth/2)
	}
	r.empty()
}
