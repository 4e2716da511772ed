//go:build faultslong

package faults

import (
	"slices"
	"testing"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// A davit that is killed at any point of an operation leaves nothing behind, and
// repeating the operation succeeds. The operations pass all points that there
// are.
func TestCrash(t *testing.T) {
	r := newRig(t)
	var passed []string
	for _, o := range everyOperation() {
		r.on(o, func(t *testing.T) {
			points := r.points(o)
			passed = append(passed, names(points)...)
			r.cutAt(t, o, kill, points)
		})
	}
	var all []string
	for _, p := range failpoint.All() {
		all = append(all, p.Name)
	}
	missing, fresh := compared(passed, all)
	if slices.Sort(fresh); len(missing)+len(fresh) > 0 {
		t.Errorf("no operation passes these points of the list: %q\nthe list does not have: %q", missing, slices.Compact(fresh))
	}
}

// The same when something fails at a point, and the davit that began goes on.
func TestCrashErrors(t *testing.T) {
	r := newRig(t)
	for _, o := range everyOperation() {
		r.on(o, func(t *testing.T) { r.cutAt(t, o, fail, once(r.undisturbed(o))) })
	}
}

// The same when something hangs at a point until it is given up.
func TestCrashHangs(t *testing.T) {
	r := newRig(t)
	for _, o := range everyOperation() {
		r.on(o, func(t *testing.T) { r.cutAt(t, o, hang, once(r.undisturbed(o))) })
	}
}
