//go:build faults

package faults

import (
	"slices"
	"testing"
)

// sampled cuts operations short at some of their points: by a kill at every nth,
// by an error and by a hang at fewer. The long tests do it at each.
func sampled(t *testing.T, n int, operations ...string) {
	t.Helper()
	r := newRig(t)
	for _, name := range operations {
		at := slices.IndexFunc(everyOperation(), func(o operation) bool { return o.name == name })
		if at < 0 {
			t.Fatalf("there is no operation %q", name)
		}
		o := everyOperation()[at]
		r.on(o, func(t *testing.T) {
			points := once(r.points(o))
			r.cutAt(t, o, kill, everyNth(points, n, n/2))
			r.cutAt(t, o, fail, everyNth(points, 4*n, n))
			r.cutAt(t, o, hang, everyNth(points, 8*n, 2*n))
		})
	}
}

// A sandbox whose making is cut short is made by the next try, once.
func TestF1KilledInSandboxRun(t *testing.T) {
	sampled(t, 6, "RunPodSandbox", "RunPodSandbox fails", "run")
}

// A container whose creation or start is cut short is there, or its name is free.
func TestF2KilledInContainerStart(t *testing.T) {
	sampled(t, 6, "create", "start", "CreateContainer", "StartContainer", "StartContainer fails")
}

// A container or a sandbox whose stop or removal is cut short is stopped or
// removed by the next try.
func TestF3KilledInStopAndRemove(t *testing.T) {
	sampled(t, 6, "stop", "rm", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox")
}

// An image whose pull or removal is cut short is whole or absent, and can be
// pulled again.
func TestF4KilledInPullAndImageRemoval(t *testing.T) {
	sampled(t, 1, "pull", "rmi")
}
