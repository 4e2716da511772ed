//go:build faults || faultslong

package faults

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// newDisk puts the durable root of a node, layers included, on a disk of its own.
func newDisk(t *testing.T, megabytes int, mkfs ...string) (disk func() *harness.Disk, prepare func(harness.Roots) error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	var d *harness.Disk
	return func() *harness.Disk { return d }, func(r harness.Roots) (err error) {
		d, err = harness.NewDisk(t.Context(), filepath.Join(r.Dir, "disk"), r.Root, megabytes, mkfs...)
		return err
	}
}

// powerLoss cuts the power of the node's disk, lets what of davit's still runs end
// by SIGKILL, and boots the machine again.
func (n *node) powerLoss(d *harness.Disk, running ...*os.Process) {
	n.t.Helper()
	err := d.CutPower()
	for _, p := range running {
		if kerr := p.Kill(); kerr != nil && !errors.Is(kerr, os.ErrProcessDone) {
			err = errors.Join(err, kerr)
		}
	}
	if err == nil {
		err = errors.Join(d.PowerOn(n.t.Context()), n.Roots.NewBoot())
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.must("images") // the first after a boot tries out what the kernel can do
}

// bigImage is busybox with layers of files whose contents do not compress.
func bigImage(t *testing.T, layers, files, size int) v1.Image {
	t.Helper()
	image, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	for l := range layers {
		var c harness.ImageConfig
		for f := range files {
			name := fmt.Sprintf("/data/%d/%d", l, f)
			c.Files = append(c.Files, harness.File{Path: name, Text: noise(name, size)})
		}
		if err == nil {
			image, err = harness.Derive(t.Context(), image, c)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// noise is a text of a size that looks random and is the same each time.
func noise(seed string, size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		sum := sha256.Sum256(fmt.Append(nil, seed, i))
		b.Write(sum[:])
	}
	return b.String()[:size]
}

// contents are what an image's layers hold: for each diffID the files by path, as
// a symbolic link's target or the digest of what is in it.
type contents map[string]map[string]string

func contentsOf(t *testing.T, image v1.Image) contents {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	all := contents{}
	for _, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		stream, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for r := tar.NewReader(stream); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch h.Typeflag {
			case tar.TypeReg:
				files[path.Clean(h.Name)] = sum(t, r)
			case tar.TypeSymlink:
				files[path.Clean(h.Name)] = "→ " + h.Linkname
			}
		}
		_ = stream.Close()
		all[id.String()] = files
	}
	return all
}

func sum(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// checkLayers compares all layers that the node's store calls complete with what
// they are to hold, and returns how many of those of want there are.
func (n *node) checkLayers(want contents) (found int) {
	n.t.Helper()
	store := filepath.Join(n.Roots.Root, "storage")
	data, err := os.ReadFile(filepath.Join(store, "overlay-layers", "layers.json"))
	var layers []struct {
		ID     string         `json:"id"`
		DiffID string         `json:"diff-digest"`
		Flags  map[string]any `json:"flags"`
	}
	if err == nil {
		err = json.Unmarshal(data, &layers)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.t.Fatalf("the store's layers cannot be read: %v", err)
	}
	for _, l := range layers {
		if l.Flags["incomplete"] == true {
			continue
		}
		files, known := want[l.DiffID]
		if !known {
			n.t.Errorf("layer %s is of content that nobody pulled: %q", l.ID, l.DiffID)
			continue
		}
		found++
		if diff := compareTree(filepath.Join(store, "overlay", l.ID, "diff"), files); diff != "" {
			n.t.Errorf("layer %s is damaged: %s", l.ID, diff)
		}
	}
	return found
}

// compareTree says in what a folder differs from the files that it is to hold.
func compareTree(dir string, want map[string]string) string {
	seen := 0
	var wrong []string
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, at)
		seen++
		var have string
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(at)
			if err != nil {
				return err
			}
			have = "→ " + target
		} else {
			data, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			digest := sha256.Sum256(data)
			have = hex.EncodeToString(digest[:])
		}
		if have != want[rel] {
			wrong = append(wrong, rel)
		}
		return nil
	})
	switch {
	case err != nil:
		return err.Error()
	case len(wrong) > 0:
		return fmt.Sprintf("%d of %d files differ, %s for one", len(wrong), len(want), wrong[0])
	case seen != len(want):
		return fmt.Sprintf("%d files, want %d", seen, len(want))
	}
	return ""
}

// checkImage checks that an image is whole: it runs, and saving it reads every byte
// of it, which the store compares with what it noted.
func (n *node) checkImage(ref string) {
	n.t.Helper()
	out := filepath.Join(n.Roots.Dir, "saved.tar")
	n.must("save", "-q", "-o", out, ref)
	if err := os.Remove(out); err != nil {
		n.t.Error(err)
	}
	n.must("run", "--rm", "--network", "none", ref, "true")
}

// powerLossInPull cuts the power at so many points of a pull, the last of which is
// right after it. Each time the image is there whole or not at all, what is called a
// layer is a layer, and pulling again brings the image.
func powerLossInPull(t *testing.T, points int) {
	disk, prepare := newDisk(t, 256)
	n := newNodeOn(t, prepare, "")
	image := bigImage(t, 4, 30, 30_000)
	want := contentsOf(t, image)
	if err := n.registry.Push(t.Context(), "big:1", image); err != nil {
		t.Fatal(err)
	}
	ref := n.registry.Ref("big:1")
	n.must("rmi", "--all", "--force")
	length := n.must("pull", "-q", ref).Took
	states := map[string]int{}
	for point := 1; point <= points; point++ {
		n.must("rmi", "--all", "--force")
		left := 1 - float64(point)/float64(points) // layers are made towards the end: most points are there
		acknowledged := n.pullUntil(time.Duration(float64(length)*(1-left*left)), point == points, disk(), ref)
		id := n.must("images", "--quiet", "--no-trunc").Line()
		listed, named := id != "", n.try("inspect", "--type", "image", ref).Code == 0
		layers := n.checkLayers(want)
		states[fmt.Sprintf("image listed: %t, named: %t, layers: %d", listed, named, layers)]++
		if acknowledged && !named {
			t.Errorf("point %d: the pull was acknowledged, and the image is gone", point)
		}
		if listed { // the last thing that it gets is its name
			n.checkImage(id)
		}
		n.must("pull", "-q", ref)
		if got := n.checkLayers(want); got != len(want) {
			t.Errorf("point %d: %d layers after pulling again, want %d", point, got, len(want))
		}
		n.checkImage(ref)
		n.check()
		if t.Failed() {
			t.Fatalf("at point %d of %d", point, points)
		}
	}
	t.Logf("a pull of %s, found after the loss: %v", length.Round(time.Millisecond), states)
	n.empty()
}

// pullUntil pulls an image and cuts the power after a while, or right after the
// pull, and says whether davit had acknowledged it.
func (n *node) pullUntil(after time.Duration, whole bool, d *harness.Disk, ref string) (acknowledged bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	cmd := n.Command(ctx, "pull", "-q", ref)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(after)
	defer timer.Stop()
	var running []*os.Process
	end := timer.C
	if whole {
		end = nil
	}
	select {
	case err := <-ended:
		acknowledged = err == nil
		ended <- err
	case <-end:
		running = append(running, cmd.Process)
	}
	n.powerLoss(d, running...)
	<-ended
	return acknowledged
}
