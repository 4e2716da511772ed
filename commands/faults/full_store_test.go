//go:build faults

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// smallStore puts a node's layers on a file system of their own in memory.
func smallStore(options string) func(harness.Roots) error {
	return func(r harness.Roots) error {
		store := filepath.Join(r.Root, "storage")
		if err := os.Mkdir(store, 0o700); err != nil {
			return err
		}
		return unix.Mount("tmpfs", store, "tmpfs", 0, options)
	}
}

// left is what a file system has free.
func (n *node) left(dir string) (bytes, inodes int64) {
	n.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		n.t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Ffree)
}

// pullTooMuch pulls an image that does not fit, by either face, and checks that what
// had come of it is gone and that all else goes on.
func (n *node) pullTooMuch(image any, says string) {
	t := n.t
	store := filepath.Join(n.Roots.Root, "storage")
	n.must("run", "-d", "--name", "web", n.image, "sleep", "1000")
	if err := n.registry.Push(t.Context(), "big:1", image); err != nil {
		t.Fatal(err)
	}
	ref := n.registry.Ref("big:1")
	bytes, inodes := n.left(store)
	n.fails(125, says, "pull", "-q", ref)
	s := n.serve()
	_, err := s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), store) {
		t.Errorf("PullImage: %v", err)
	}
	bytesNow, inodesNow := n.left(store)
	if bytesNow < bytes-200_000 || inodesNow < inodes-20 {
		t.Errorf("free were %d bytes and %d inodes, after the pulls %d and %d", bytes, inodes, bytesNow, inodesNow)
	}
	n.fails(1, "", "image", "exists", ref)
	n.must("exec", "web", "true")
	n.must("run", "--rm", n.image, "true")
	n.check()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	n.must("rm", "--force", "-t", "0", "web")
}

func TestF24LayerStoreFull(t *testing.T) {
	n := newNodeOn(t, smallStore("size=24m"), "")
	n.pullTooMuch(bigImage(t, 8, 4, 1_000_000), `no space left[\s\S]*Hint: .*/root/storage is full`)
}

// A store that others filled to the last byte: what runs stops and is removed, and
// images go, which makes room.
func TestF24NoByteLeft(t *testing.T) {
	n := newNodeOn(t, smallStore("size=24m"), "")
	n.must("run", "-d", "--name", "web", n.image, "sh", "-c", "exec sleep 1000")
	n.must("run", "-d", "--name", "kept", n.image, "sleep", "1000")
	n.must("run", "--name", "done", n.image, "true")
	free := n.fill(filepath.Join(n.Roots.Root, "storage"))
	full := `no space left[\s\S]*Hint: .*/root/storage is full`
	n.fails(125, full, "create", "--name", "new", n.image, "true")
	n.fails(125, full, "pull", "-q", n.image)
	n.must("ps", "--all")
	n.must("images")
	n.must("stop", "-t", "0", "web")
	n.must("rm", "web")
	n.must("rm", "--force", "-t", "0", "kept", "done")
	n.must("rmi", n.image)
	free()
	n.check()
}

func TestF25NoInodesLeft(t *testing.T) {
	n := newNodeOn(t, smallStore("size=64m,nr_inodes=1200"), "")
	n.pullTooMuch(bigImage(t, 4, 300, 10), `no space left[\s\S]*Hint: .*/root/storage has no inode left`)
}

// A run root without a byte or an inode left, where the layer store notes what is
// mounted besides what davit has there: what runs stops and is removed all the same, and
// images go. Whatever each step gives back is taken at once.
func TestF26StoresRunRootFull(t *testing.T) {
	for name, tt := range map[string]struct {
		options string
		fill    func(dir string, spare int64) (undo func() error, err error)
	}{
		"bytes":  {"size=4m,mode=711", harness.Fill},
		"inodes": {"nr_inodes=2000,mode=711", func(dir string, _ int64) (func() error, error) { return harness.FillInodes(dir, 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNodeOn(t, func(r harness.Roots) error {
				return unix.Mount("tmpfs", r.RunRoot, "tmpfs", 0, tt.options)
			}, "")
			for _, name := range []string{"web", "other", "third", "one", "two", "three"} {
				n.must("run", "-d", "--name", name, n.image, "sleep", "1000")
			}
			n.try("run", "--name", "done", "--network", "none", n.image, "false")
			n.must("create", "--name", "made", n.image, "true")
			n.must("pod", "create", "--name", "shop", "--network", "none")
			n.must("run", "-d", "--pod", "shop", "--name", "clerk", n.image, "sleep", "1000")
			undo := func() error { return nil }
			full := func() {
				t.Helper()
				err := undo()
				if err == nil {
					undo, err = tt.fill(n.Roots.RunRoot, 0)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, args := range [][]string{{"create", "--name", "new", n.image, "true"}, {"run", "--rm", n.image, "true"}} {
				full()
				n.fails(125, "no space left", args...)
			}
			for _, args := range [][]string{
				{"ps", "--all"}, {"inspect", "web"},
				{"stop", "-t", "0", "web"}, {"rm", "web"},
				{"kill", "other"}, {"wait", "other"}, {"rm", "other", "done", "made"},
				{"rm", "-f", "-t", "0", "third"},
				{"stop", "-t", "0", "one", "two", "three"}, {"rm", "one", "two", "three"}, // at the same time
				{"pod", "stop", "-t", "0", "shop"}, {"pod", "rm", "shop"},
				{"rmi", n.image}, {"system", "check"},
			} {
				full()
				n.must(args...)
			}
			if err := undo(); err != nil {
				t.Fatal(err)
			}
			notes, err := os.ReadFile(filepath.Join(n.Roots.RunRoot, "storage", "overlay-layers", "mountpoints.json"))
			if err != nil || strings.TrimSpace(string(notes)) != "[]" {
				t.Errorf("of what is mounted the store notes %s, %v", notes, err)
			}
			n.must("pull", "-q", n.image)
			n.must("run", "--rm", n.image, "true")
			n.empty()
		})
	}
}
