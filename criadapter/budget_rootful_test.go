//go:build rootful

package criadapter_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/harness"
)

// TestPodBudget holds what the time of a pod's life depends on and load does not: which
// programs are executed for it, and how often is synced. An exit command is none of
// them: the server does what that would.
func TestPodBudget(t *testing.T) {
	r := newRig(t, "")
	life := func(name string) {
		pod := r.sandbox(t, r.networked(name, 0))
		c := r.containerConfig(name, "")
		c.Command = []string{"sleep", "1000"}
		r.run(t, pod, c)
		r.removeSandbox(t, pod)
	}
	life("first") // sets up what the network and the runtime keep
	calls, err := harness.TraceWhile(t.Context(), r.server.PID(), func() { life("traced") })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, p := range calls.Programs {
		got[p]++
	}
	delete(got, "iptables") // the plugins'
	want := map[string]int{
		"bridge": 2, "host-local": 2, "portmap": 2, "conmon": 1, "sleep": 1,
		"runc": 2, harness.Copy: 1, "exe": 1, // runc's init executes itself
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("programs executed: %v, of %v\n%s", got, calls.Programs, diff)
	}
	if n := calls.Below(r.davit.Roots.Root, "storage"); n > 6 {
		t.Errorf("%d syncs on davit's records, 6 at most: %v", n, calls.Syncs)
	}
	if n := len(calls.Syncs); n > 12 {
		t.Errorf("%d syncs, 12 at most: %v", n, calls.Syncs)
	}
}
