//go:build faultslong

package faults

import "testing"

// A davit that is killed at any point of an operation leaves nothing behind, and
// repeating the operation succeeds.
func TestCrash(t *testing.T) {
	r := newRig(t)
	for _, o := range append(operations(), kubelets()...) {
		t.Run(o.name, func(t *testing.T) {
			defer func(old *testing.T) { r.t = old }(r.t)
			r.t = t
			r.killedAtEachPoint(t, o)
		})
	}
}
