//go:build rootful

package img

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/img/sound"
)

// linked checks that every layer of a store has its link.
func linked(t *testing.T, s *Store, when string) {
	t.Helper()
	r, err := sound.Check(t.Context(), s.storage(), sound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Links {
		t.Errorf("%s: the link %s of layer %s leads nowhere", when, l.Path, l.Layer)
	}
}

// halfMade leaves a layer as a process does that is killed between the two steps by
// which the driver makes a layer's link, with an empty note of it, and has another
// process look at the store: that removes the layer, and the links of all others.
func halfMade(t *testing.T, s *Store, im Image) {
	t.Helper()
	if _, err := s.storage().CreateLayer("half", im.TopLayer, nil, "", true, nil); err != nil {
		t.Fatal(err)
	}
	records := filepath.Join(s.storage().GraphRoot(), "overlay-layers", "layers.json")
	var layers []map[string]any
	if err := json.Unmarshal(readFile(t, records), &layers); err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if l["id"] == "half" {
			l["flags"] = map[string]any{"incomplete": true}
		}
	}
	text, err := json.Marshal(layers)
	if err == nil {
		err = os.WriteFile(records, text, 0o600)
	}
	if err == nil {
		err = os.Truncate(filepath.Join(s.storage().GraphRoot(), "overlay", "half", "link"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.cfg
	other, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.storage().Layer("half"); err == nil {
		t.Fatal("the library has not removed the layer")
	}
	if r, err := sound.Check(t.Context(), other.storage(), sound.Options{}); err != nil || len(r.Links) == 0 {
		t.Fatalf("the library has spared the links: %v", err)
	}
}

// The links that a process took which was killed as it made a root filesystem are back
// when that is undone.
func TestF2KilledAtLink(t *testing.T) {
	s, im := withImage(t)
	halfMade(t, s, im)
	if err := s.DeleteRootfs(t.Context(), "half"); !errdefs.IsNotFound(err) {
		t.Errorf("DeleteRootfs = %v", err)
	}
	linked(t, s, "after the undoing")
}

// The links that a pull took which was killed are back after the next one.
func TestF4KilledAtLink(t *testing.T) {
	s, im := withImage(t)
	halfMade(t, s, im)
	reg := faultyRegistry(t)
	push(t, reg.host+"/next:1", testImage(t, "amd64", testLayer(t, map[string]string{"c": "c"})))
	if _, err := s.Pull(t.Context(), reg.host+"/next:1", quick()); err != nil {
		t.Fatal(err)
	}
	linked(t, s, "after the next pull")
}
