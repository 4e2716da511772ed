//go:build rootful

package img

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
)

// Images that share layers are pulled, used and removed at the same time. A
// pull may lose its image to a removal before it has returned; nothing else may
// go wrong, and nothing may be left.
func TestF47PullAndRemoveAtOnce(t *testing.T) {
	s, reg, ctx := overlayTest(t), faultyRegistry(t), t.Context()
	base, second := testLayer(t, map[string]string{"base": strings.Repeat("b", 1<<16)}), testLayer(t, map[string]string{"second": "s"})
	for i := range 3 {
		push(t, fmt.Sprintf("%s/shared:%d", reg.host, i), testImage(t, "amd64", base, second, testLayer(t, map[string]string{"own": fmt.Sprint(i)})))
	}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for round := range 5 {
				ref, id := fmt.Sprintf("%s/shared:%d", reg.host, w%3), fmt.Sprintf("c-%d-%d", w, round)
				im, err := s.Pull(ctx, ref, quick())
				if err != nil {
					if !errdefs.IsNotFound(err) {
						t.Errorf("Pull: %v", err)
					}
					continue
				}
				if _, err := s.CreateRootfs(ctx, RootfsConfig{ID: id, Image: im.ID, Volatile: true}); err == nil {
					if _, err := s.MountRootfs(ctx, id); err != nil {
						t.Errorf("MountRootfs: %v", err)
					}
					if err := s.DeleteRootfs(ctx, id); err != nil {
						t.Errorf("DeleteRootfs: %v", err)
					}
				} else if !errdefs.IsNotFound(err) {
					t.Errorf("CreateRootfs: %v", err)
				}
				var inUse *InUseError
				if _, err := s.Remove(ctx, ref, RemoveOptions{}); err != nil && !errdefs.IsNotFound(err) && !errors.As(err, &inUse) {
					t.Errorf("Remove: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := s.Prune(ctx, PruneOptions{All: true}); err != nil {
		t.Error(err)
	}
	images, err := s.storage().Images()
	if err != nil || len(images) > 0 {
		t.Errorf("images left: %d, %v", len(images), err)
	}
	noTemp(t, s)
}
