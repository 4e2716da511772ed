//go:build faults

package faults

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// A layer that is removed, a bit that is flipped, a link that leads nowhere: each
// is found and the image named. Only what is damaged is removed, and can be pulled
// again; what is not, and what other images have, stays, as do containers.
func TestF32DamagedLayers(t *testing.T) {
	n := newNode(t, "")
	sound := n.must("run", "-d", "--name", "sound", n.image, "sleep", "1000").Line()
	pid := n.must("inspect", "--format", "{{.State.Pid}}", sound).Line()
	push := func(name string, seed uint64) string {
		t.Helper()
		image, err := harness.Layered(harness.LayersConfig{Layers: 3, Files: 5, FileBytes: 20_000, Seed: seed})
		if err == nil {
			err = n.registry.Push(t.Context(), name, image)
		}
		if err != nil {
			t.Fatal(err)
		}
		n.must("pull", "-q", n.registry.Ref(name))
		return n.registry.Ref(name)
	}
	victim, other := push("victim:1", 1), push("other:1", 2)
	for _, tt := range []struct {
		name, says string
		damage     func(layer string)
		deep       bool // is found by reading alone
		stays      bool // nothing is lost
	}{
		{name: "files of a layer removed", says: "gone", damage: func(layer string) { n.remove(filepath.Join(layer, "diff")) }},
		{name: "a layer removed", says: "gone", damage: func(layer string) { n.remove(layer) }},
		{name: "a file removed", says: "cannot be read", deep: true, damage: func(layer string) { n.remove(aFile(t, layer)) }},
		{name: "a bit flipped", says: "cannot be read|digest", deep: true, damage: func(layer string) { flipBit(t, aFile(t, layer)) }},
		{name: "a link that leads nowhere", says: "leads nowhere", stays: true, damage: func(layer string) { n.remove(linkOf(t, layer)) }},
		{name: "the archive's description removed", says: "description", damage: func(layer string) {
			n.remove(filepath.Join(layer, "../../overlay-layers", filepath.Base(layer)+".tar-split.gz"))
		}},
		{name: "the archive's description changed", says: "digest", deep: true, damage: func(layer string) {
			changePadding(t, filepath.Join(layer, "../../overlay-layers", filepath.Base(layer)+".tar-split.gz"))
		}},
		{name: "the list of lower layers removed", says: "below it", damage: func(layer string) { n.remove(filepath.Join(layer, "lower")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.damage(n.topLayer(victim))
			if tt.deep {
				if found, code := n.findings(); code != 0 {
					t.Errorf("found without reading: %+v", found)
				}
			}
			found, code := n.findings("--deep")
			is := func(f finding) bool {
				return (strings.Contains(f.Object, victim) || tt.stays && f.Kind == "layer") && matches(tt.says, f.Problem)
			}
			if code != 1 || len(found) != 1 || !is(found[0]) {
				t.Errorf("exit code %d, found %+v", code, found)
			}
			if done, code := n.findings("--deep", "--repair"); code != 0 || len(done) == 0 || slices.ContainsFunc(done, func(f finding) bool { return !f.Repaired }) {
				t.Errorf("--repair: exit code %d, %+v", code, done)
			}
			if there := n.try("image", "exists", victim).Code == 0; there != tt.stays {
				t.Errorf("the damaged image is there: %t, want %t", there, tt.stays)
			}
			n.must("image", "exists", other)
			n.must("pull", "-q", victim)
			n.readable(victim)
			n.must("system", "check", "--deep")
		})
	}
	if now := n.must("inspect", "--format", "{{.State.Pid}}", sound).Line(); now != pid {
		t.Errorf("the container that was sound: process %s, was %s", now, pid)
	}
	n.empty()
}

// A link in a layer that leads elsewhere is found, which has no contents to be compared.
func TestF32ChangedLink(t *testing.T) {
	n := newNode(t, "")
	links, err := filepath.Glob(filepath.Join(n.topLayer(n.image), "diff/bin/*"))
	links = slices.DeleteFunc(links, func(path string) bool { _, err := os.Readlink(path); return err != nil })
	if err != nil || len(links) == 0 {
		t.Fatalf("links: %q, %v", links, err)
	}
	n.remove(links[0])
	if err := os.Symlink("elsewhere", links[0]); err != nil {
		t.Fatal(err)
	}
	found, code := n.findings("--deep")
	if code != 1 || len(found) != 1 || found[0].Kind != "image" || !strings.Contains(found[0].Problem, "does not link to") {
		t.Errorf("exit code %d, found %+v", code, found)
	}
	if done, code := n.findings("--deep", "--repair"); code != 0 {
		t.Errorf("--repair: exit code %d, %+v", code, done)
	}
	n.must("pull", "-q", n.image)
	n.must("run", "--rm", n.image, "true")
	n.empty()
}

// An image whose layer is damaged stays while a container was made of it, unless
// by force.
func TestF32DamagedImageInUse(t *testing.T) {
	n := newNode(t, "")
	n.must("create", "--name", "user", n.image, "true")
	n.remove(filepath.Join(n.topLayer(n.image), "diff/bin"))
	done, code := n.findings("--deep", "--repair")
	if code != 1 || len(done) == 0 || slices.ContainsFunc(done, func(f finding) bool { return f.Repaired }) {
		t.Errorf("exit code %d, %+v", code, done)
	}
	n.must("container", "exists", "user")
	n.must("image", "exists", n.image)
	if done, code := n.findings("--deep", "--repair", "--force"); code != 0 {
		t.Errorf("--force: exit code %d, %+v", code, done)
	}
	n.fails(1, "", "container", "exists", "user")
	n.must("pull", "-q", n.image)
	n.must("run", "--rm", n.image, "true")
	n.empty()
}

// The documents of an image that were changed are found, whatever their size.
func TestF32DamagedManifest(t *testing.T) {
	n := newNode(t, "")
	id := n.must("inspect", "--type", "image", "--format", "{{.Id}}", n.image).Line()
	folder := filepath.Join(n.Roots.Root, "storage/overlay-images", strings.TrimPrefix(id, "sha256:"))
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		flipBit(t, f)
	}
	found, code := n.findings()
	if code != 1 || len(found) != 1 || found[0].Kind != "image" || !strings.Contains(found[0].Object, n.image) {
		t.Errorf("exit code %d, found %+v", code, found)
	}
	if done, code := n.findings("--repair"); code != 0 {
		t.Errorf("--repair: exit code %d, %+v", code, done)
	}
	n.must("pull", "-q", n.image)
	n.must("run", "--rm", n.image, "true")
	n.empty()
}

// remove deletes a file or a folder of the node's.
func (n *node) remove(path string) {
	n.t.Helper()
	if _, err := os.Lstat(path); err != nil {
		n.t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		n.t.Fatal(err)
	}
}

// topLayer is the folder of an image's top layer.
func (n *node) topLayer(ref string) string {
	n.t.Helper()
	id := strings.TrimPrefix(n.must("inspect", "--type", "image", "--format", "{{.Id}}", ref).Line(), "sha256:")
	data, err := os.ReadFile(filepath.Join(n.Roots.Root, "storage/overlay-images/images.json"))
	var images []struct{ ID, Layer string }
	if err == nil {
		err = json.Unmarshal(data, &images)
	}
	i := slices.IndexFunc(images, func(im struct{ ID, Layer string }) bool { return im.ID == id })
	if err != nil || i < 0 {
		n.t.Fatalf("image %s in the store: %v\n%s", id, err, data)
	}
	return filepath.Join(n.Roots.Root, "storage/overlay", images[i].Layer)
}

// readable checks that every byte of an image can be read.
func (n *node) readable(ref string) {
	n.t.Helper()
	out := filepath.Join(n.Roots.Dir, "saved.tar")
	n.must("save", "-q", "-o", out, ref)
	n.remove(out)
}

// aFile is a file in a layer.
func aFile(t *testing.T, layer string) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(filepath.Join(layer, "diff"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no file in %s: %v", layer, err)
	}
	return found
}

// linkOf is the link of a layer's short name.
func linkOf(t *testing.T, layer string) string {
	t.Helper()
	name, err := os.ReadFile(filepath.Join(layer, "link"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(layer), "l", string(name))
}

// changePadding changes what a description of an archive has of the zeros behind its
// last file: what is read of the archive is as it was.
func changePadding(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	var in *gzip.Reader
	if err == nil {
		in, err = gzip.NewReader(bytes.NewReader(data))
	}
	if err == nil {
		data, err = io.ReadAll(in)
	}
	at := bytes.LastIndex(data, []byte(`"AAAA`)) // zeros in base64
	if err != nil || at < 0 {
		t.Fatalf("no padding in %s: %v", path, err)
	}
	data[at+1] = 'B'
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err = w.Write(data)
	if err = errors.Join(err, w.Close()); err == nil {
		err = os.WriteFile(path, out.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flipBit changes a bit in the middle of a file.
func flipBit(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		t.Fatal(path, err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func matches(expr, text string) bool { return regexp.MustCompile(expr).MatchString(text) }
