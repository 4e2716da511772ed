//go:build rootful

package commands_test

import (
	"sync"
	"testing"
	"time"
)

// Several processes at work on one container get defined answers, in time, and
// nobody waits for somebody who waits for them: a start holds the container and
// needs its pod, a removal holds the pod and needs the container.
func TestF7ManyAtWorkOnOneContainer(t *testing.T) {
	d, image := busyboxDavit(t)
	for range 8 {
		id := must(t, d, "create", "--network", "none", image, "sleep", "100").Line()
		var g sync.WaitGroup
		for _, args := range [][]string{
			{"start", id}, {"rm", "--force", id}, {"start", id}, {"kill", id}, {"stop", "-t", "0", id}, {"exec", id, "true"},
		} {
			g.Go(func() {
				r := try(t, d, args...)
				if r.Took > 15*time.Second {
					t.Errorf("davit %v took %s: exit code %d\n%s", args, r.Took, r.Code, r.Stderr)
				}
				if r.Code == 2 {
					t.Errorf("davit %v: exit code %d\n%s", args, r.Code, r.Stderr)
				}
			})
		}
		g.Wait()
		try(t, d, "rm", "--force", "--ignore", id)
	}
	settled(t, d)
}
