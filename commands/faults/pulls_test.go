//go:build faults || faultslong

package faults

import (
	"fmt"
	"sync"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// Processes that pull different images at the same time do not disturb each
// other, nor does one that removes images meanwhile.
func TestPullsAtOnce(t *testing.T) {
	n := newNode(t, "")
	const images, times = 8, 4
	ref := func(i int) string { return n.registry.Ref(fmt.Sprintf("at-once%d:1", i)) }
	for i := range images {
		img, err := harness.Layered(harness.LayersConfig{Layers: 4, Files: 20, FileBytes: 20_000, Seed: uint64(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.registry.Push(t.Context(), fmt.Sprintf("at-once%d:1", i), img); err != nil {
			t.Fatal(err)
		}
	}
	var g sync.WaitGroup
	for i := range images {
		g.Go(func() {
			for range times {
				for _, args := range [][]string{{"pull", "-q", ref(i)}, {"rmi", ref(i)}} {
					if r := n.try(args...); r.Code != 0 {
						t.Errorf("davit %v: exit code %d\n%s", args, r.Code, r.Stderr)
					}
				}
			}
		})
	}
	g.Wait()
	if got := n.must("images", "-q").Line(); len(got) != 12 {
		t.Errorf("images left: %q", got)
	}
}
