//go:build rootful

package img

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
)

// manyImages adds images with configs and manifests of a common size, on one
// layer of which nothing need be unpacked.
func manyImages(tb testing.TB, s *Store, n int) {
	tb.Helper()
	parent := ""
	for i := range 20 {
		l, err := s.storage().CreateLayer(fmt.Sprintf("%064x", i+1), parent, nil, "", false, nil)
		if err != nil {
			tb.Fatal(err)
		}
		parent = l.ID
	}
	for i := range n {
		labels := map[string]string{}
		for j := range 20 {
			labels[fmt.Sprintf("org.example.label.%d", j)] = fmt.Sprintf("value %d of image %d", j, i)
		}
		history := make([]map[string]any, 20)
		for j := range history {
			history[j] = map[string]any{"created": "2026-01-02T03:04:05Z", "created_by": "/bin/sh -c #(nop) step of some length, as they are"}
		}
		config, err := json.Marshal(map[string]any{"created": "2026-01-02T03:04:05Z", "os": "linux", "architecture": "amd64", "config": map[string]any{"Labels": labels}, "history": history})
		if err != nil {
			tb.Fatal(err)
		}
		d := digest.FromBytes(config)
		manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "config": map[string]any{"digest": d, "size": len(config)}})
		if err != nil {
			tb.Fatal(err)
		}
		md := digest.FromBytes(manifest)
		if _, err := s.storage().CreateImage(d.Encoded(), []string{fmt.Sprintf("localhost/many:%d", i)}, parent, "", &storage.ImageOptions{Digest: md, BigData: []storage.ImageBigDataOption{
			{Key: d.String(), Data: config, Digest: d}, {Key: storage.ImageDigestBigDataKey, Data: manifest, Digest: md},
		}}); err != nil {
			tb.Fatal(err)
		}
	}
}

// fastest is the shortest time that f took: the others were disturbed.
func fastest(n int, f func()) time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		begin := time.Now()
		f()
		times[i] = time.Since(begin)
	}
	return slices.Min(times)
}

func TestSpeed(t *testing.T) {
	s, ctx := overlayTest(t), t.Context()
	manyImages(t, s, 100)
	cfg := s.cfg
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reopen := func() *Store {
		again, err := Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	open := fastest(20, func() {
		if err := reopen().Close(); err != nil {
			t.Fatal(err)
		}
	})
	list := fastest(20, func() {
		again := reopen()
		if images, err := again.List(ctx, ListOptions{}); err != nil || len(images) != 100 {
			t.Fatalf("%d images, %v", len(images), err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
	brief := fastest(20, func() {
		again := reopen()
		if images, err := again.List(ctx, ListOptions{Brief: true}); err != nil || len(images) != 100 {
			t.Fatalf("%d images, %v", len(images), err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
	resolve := fastest(20, func() {
		again := reopen()
		if _, err := again.Resolve(ctx, "localhost/many:50"); err != nil {
			t.Fatal(err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("open %v; open and list 100 images %v, in brief %v; open and resolve %v", open, list, brief, resolve)
	for _, b := range []struct {
		what        string
		took, limit time.Duration
	}{{"opening", open, 2 * time.Millisecond}, {"listing 100 images", list, 20 * time.Millisecond}, {"listing them in brief", brief, 10 * time.Millisecond}, {"resolving", resolve, 4 * time.Millisecond}} {
		if b.took > b.limit {
			t.Errorf("%s took %v, of %v", b.what, b.took, b.limit)
		}
	}
}
