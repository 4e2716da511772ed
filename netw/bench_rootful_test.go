//go:build rootful

package netw

import (
	"errors"
	"fmt"
	"testing"

	"github.com/davit-containers/davit/netw/netns"
)

// BenchmarkAttach measures an attachment to the built-in network and its end,
// with and without a published port.
func BenchmarkAttach(b *testing.B) {
	for _, ports := range [][]string{nil, {"18080:80"}} {
		b.Run(fmt.Sprintf("ports=%d", len(ports)), func(b *testing.B) {
			w := newWorld(b)
			keep := w.sandbox("keep")
			keep.attach(keep.request())
			for b.Loop() {
				b.StopTimer()
				s := w.sandbox("bench")
				r := s.request(ports...)
				b.StartTimer()
				if _, err := w.Attach(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				s.detach()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkDetach measures the end of an attachment, the pins removed on the
// way, and with DEL in the namespace for comparison.
func BenchmarkDetach(b *testing.B) {
	for _, pins := range []bool{true, false} {
		b.Run(fmt.Sprintf("unpin-first=%t", pins), func(b *testing.B) {
			w := newWorld(b)
			keep := w.sandbox("keep")
			keep.attach(keep.request())
			for b.Loop() {
				b.StopTimer()
				s := w.sandbox("bench")
				if _, err := w.Attach(b.Context(), s.request("18080:80")); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				r := Request{ID: s.id, Dir: s.dir}
				if pins {
					r.PinDir = s.pinDir()
				}
				if err := w.Detach(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				if !pins {
					if err := netns.Remove(s.pinDir()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkNamespaces measures making and removing the pinned namespaces.
func BenchmarkNamespaces(b *testing.B) {
	dir := b.TempDir() + "/ns"
	for b.Loop() {
		if _, err := netns.Create(b.Context(), netns.Config{Dir: dir, Net: true, IPC: true, UTS: true, Hostname: "b"}); err != nil {
			b.Fatal(err)
		}
		if err := netns.Remove(dir); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnsure measures the look at a network that is set up already.
func BenchmarkEnsure(b *testing.B) {
	w := newWorld(b)
	keep := w.sandbox("keep")
	keep.attach(keep.request())
	n, err := w.builtin()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := errors.Join(ensureBridge(n), w.ensureTable([]Network{n})); err != nil {
			b.Fatal(err)
		}
	}
}
