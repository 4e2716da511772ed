//go:build rootful

package netw

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/davit-containers/davit/netw/netns"
)

// clock collects durations and reports their minimum and median, which say more
// than the mean on a machine with other work.
type clock struct{ took []time.Duration }

func (c *clock) time(b *testing.B, f func() error) {
	b.Helper()
	begin := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	c.took = append(c.took, time.Since(begin))
}

func (c *clock) report(b *testing.B, what string) {
	slices.Sort(c.took)
	b.ReportMetric(c.took[0].Seconds()*1000, what+"-min-ms")
	b.ReportMetric(c.took[len(c.took)/2].Seconds()*1000, what+"-median-ms")
}

// BenchmarkAttachment measures the life of an attachment to the built-in network:
// as pods live it, with a port, and with DEL in the namespace for comparison.
func BenchmarkAttachment(b *testing.B) {
	for _, bb := range []struct {
		name  string
		ports []string
		keep  bool
	}{{"plain", nil, false}, {"port", []string{"18080:80"}, false}, {"del-in-namespace", nil, true}} {
		b.Run(bb.name, func(b *testing.B) {
			w := newWorld(b)
			first := w.sandbox("first")
			first.attach(first.request())
			var attach, detach clock
			for b.Loop() {
				s := w.sandbox("bench")
				attach.time(b, func() error {
					_, err := w.Attach(b.Context(), s.request(bb.ports...))
					return err
				})
				detach.time(b, func() error {
					r := Request{ID: s.id, Dir: s.dir, PinDir: s.pinDir()}
					if bb.keep {
						r.PinDir = ""
					}
					return errors.Join(w.Detach(b.Context(), r), netns.Remove(s.pinDir()))
				})
			}
			attach.report(b, "attach")
			detach.report(b, "detach")
		})
	}
}

// BenchmarkNamespaces measures making and removing the pinned namespaces.
func BenchmarkNamespaces(b *testing.B) {
	dir := b.TempDir() + "/ns"
	var create, remove clock
	for b.Loop() {
		create.time(b, func() error {
			_, err := netns.Create(b.Context(), netns.Config{Dir: dir, Net: true, IPC: true, UTS: true, Hostname: "b"})
			return err
		})
		remove.time(b, func() error { return netns.Remove(dir) })
	}
	create.report(b, "create")
	remove.report(b, "remove")
}

// BenchmarkEnsure measures the look at a network that is set up already.
func BenchmarkEnsure(b *testing.B) {
	w := newWorld(b)
	first := w.sandbox("first")
	first.attach(first.request())
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
