package img

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/davit-containers/davit/ctr/record"
)

// An image that a loss of power, or a kill, left without its manifest is none: not
// listed, not found, told of by Check, completed by the pull that brings it again, and
// removed by Sweep and Prune.
func TestPartialImage(t *testing.T) {
	unpacks(t)
	ref := testRegistry(t) + "/a:1"
	made := testImage(t, "amd64", testLayer(t, map[string]string{"f": "text"}))
	push(t, ref, made)
	o := quick()
	o.Owner = "davit"
	s := openTest(t)
	im, err := s.Pull(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	cut := func() { // as it is when the second of its documents was never written
		t.Helper()
		path := filepath.Join(s.storage().GraphRoot(), "vfs-images", "images.json")
		var all []map[string]any
		data, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(data, &all)
		}
		if err != nil || len(all) != 1 {
			t.Fatalf("the records of images: %v, %v", all, err)
		}
		delete(all[0], "names")
		names := all[0]["big-data-names"].([]any)
		all[0]["big-data-names"] = names[:1]
		if data, err = json.Marshal(all); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(t.Context(), s.cfg)
		if err != nil {
			t.Fatal(err)
		}
		s = again
	}
	absent := func() {
		t.Helper()
		if list, err := s.List(t.Context(), ListOptions{All: true}); err != nil || len(list) != 0 {
			t.Errorf("listed: %v, %v", list, err)
		}
		for _, ref := range []string{ref, im.ID, im.ID[:12], im.Digest} {
			if got, err := s.Resolve(t.Context(), ref); !errdefs.IsNotFound(err) {
				t.Errorf("%s is %q, %v; want not found", ref, got.ID, err)
			}
		}
		if u, err := s.Usage(t.Context()); err != nil || len(u.Images) != 0 {
			t.Errorf("usage tells of %v, %v", u.Images, err)
		}
	}
	findings := func() []record.Finding {
		t.Helper()
		list, err := s.Check(t.Context(), CheckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	left := func() int {
		t.Helper()
		layers, err := s.storage().Layers()
		if err != nil {
			t.Fatal(err)
		}
		return len(layers)
	}

	cut()
	absent()
	again, err := s.Pull(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("pulling it again: %v", err)
	}
	if again.ID != im.ID || again.Digest != im.Digest || again.Architecture != "amd64" || !slices.Equal(again.Pulled, []string{o.Owner}) || !slices.Equal(again.Names, im.Names) {
		t.Errorf("pulled again: %+v\nwant %+v", again, im)
	}
	if list := findings(); len(list) != 0 {
		t.Errorf("completed, and Check says %v", list)
	}

	// What the tag means now has the same config and another manifest.
	cut()
	push(t, ref, mutate.Annotations(made, map[string]string{"since": "then"}).(v1.Image))
	if im, err = s.Pull(t.Context(), ref, o); err != nil || im.ID != again.ID || im.Annotations["since"] != "then" {
		t.Errorf("of another manifest: %+v, %v", im, err)
	}
	cut()
	list := findings()
	if len(list) != 1 || list[0].Object != "image "+im.ID {
		t.Fatalf("Check says %v, want one line for the image", list)
	}
	if err := list[0].Mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	absent()
	if n := left(); n != 0 {
		t.Errorf("repaired, and %d layers are left", n)
	}
	for name, sweep := range map[string]func() error{
		"Sweep": func() error { return s.Sweep(t.Context()) },
		"Prune": func() error { _, err := s.Prune(t.Context(), PruneOptions{}); return err },
	} {
		if _, err := s.Pull(t.Context(), ref, o); err != nil {
			t.Fatal(err)
		}
		cut()
		torn := writeFile(t, filepath.Join(s.storage().GraphRoot(), "vfs-images"), ".tmp-images.json1", "[")
		if err := sweep(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(torn); !os.IsNotExist(err) {
			t.Errorf("%s leaves what a killed process was writing: %v", name, err)
		}
		if n := left(); n != 0 || len(findings()) != 0 {
			t.Errorf("%s leaves %d layers, %v", name, n, findings())
		}
	}
}
