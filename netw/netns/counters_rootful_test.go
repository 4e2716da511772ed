//go:build rootful

package netns

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// What goes through one namespace's interface shows there and nowhere else, and
// a namespace that is gone does not spoil the others.
func TestCounters(t *testing.T) {
	var paths []string
	for _, name := range []string{"a", "b"} {
		dir := filepath.Join(t.TempDir(), name)
		p, err := Create(t.Context(), Config{Dir: dir, Net: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = Remove(dir) })
		paths = append(paths, p.Net)
	}
	if err := Do(paths[1], func() error {
		return exec.Command("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1").Run()
	}); err != nil {
		t.Fatal(err)
	}
	got := Counters([]string{paths[0], filepath.Join(t.TempDir(), "gone"), paths[1]})
	if got[0] == nil || len(got[0]) != 0 || got[1] != nil || len(got[2]) != 2 {
		t.Fatalf("got %+v", got)
	}
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifs {
		if i.Name == "v0" {
			t.Error("the test's own namespace was changed")
		}
	}
}

func BenchmarkCounters(b *testing.B) {
	var paths []string
	for range 100 {
		dir := filepath.Join(b.TempDir(), "ns")
		p, err := Create(b.Context(), Config{Dir: dir, Net: true})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = Remove(dir) }()
		paths = append(paths, p.Net)
	}
	for b.Loop() {
		Counters(paths)
	}
}
