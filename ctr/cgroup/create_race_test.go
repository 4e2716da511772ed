package cgroup

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A cgroup is made while another process removes the one above it, which is empty.
func TestMadeWhileParentGoes(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "davit")
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = os.Remove(parent)
		}
	})
	for range 2000 {
		dir := filepath.Join(parent, "pod")
		if err := makeAll(dir); err != nil {
			t.Error(err)
			break
		}
		_ = os.Remove(dir)
	}
	stop()
	wg.Wait()
}
