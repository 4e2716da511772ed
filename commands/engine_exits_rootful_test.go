//go:build rootful

package commands_test

import (
	"sync"
	"testing"
	"time"
)

// Thirty at once that end at once, some of them before their davit has
// returned: each has its exit code, and nothing stays behind.
func TestQuickExitsAtOnce(t *testing.T) {
	d, image := busyboxDavit(t)
	for _, args := range [][]string{{"run", "--rm"}, {"run", "-d", "--rm"}} {
		var g sync.WaitGroup
		for range 30 {
			g.Go(func() {
				if r := try(t, d, append(append([]string{}, args...), image, "true")...); r.Code != 0 {
					t.Errorf("davit %v: exit code %d\n%s", args, r.Code, r.Stderr)
				}
			})
		}
		g.Wait()
	}
	// Nothing else clears what has removed itself.
	deadline := time.Now().Add(10 * time.Second)
	for must(t, d, "ps", "-aq").Line() != "" || must(t, d, "pod", "ps", "-aq").Line() != "" {
		if time.Now().After(deadline) {
			t.Fatalf("left:\n%s%s", must(t, d, "ps", "-a").Stdout, must(t, d, "pod", "ps", "-a").Stdout)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
