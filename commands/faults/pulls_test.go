//go:build faults

package faults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// Processes that pull different images at the same time do not disturb each
// other, nor does one that removes images meanwhile.
func TestF47PullsAtOnce(t *testing.T) {
	n := newNode(t, "")
	const images, times = 8, 4
	ref := func(i int) string { return n.registry.Ref(fmt.Sprintf("at-once%d:1", i)) }
	for i := range images {
		img, err := harness.Layered(harness.LayersConfig{Layers: 4, Files: 20, FileBytes: 20_000, Seed: uint64(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.registry.Push(t.Context(), fmt.Sprintf("at-once%d:1", i), img); err != nil {
			t.Fatal(err)
		}
	}
	var g sync.WaitGroup
	for i := range images {
		g.Go(func() {
			for range times {
				for _, args := range [][]string{{"pull", "-q", ref(i)}, {"rmi", ref(i)}} {
					if r := n.try(args...); r.Code != 0 {
						t.Errorf("davit %v: exit code %d\n%s", args, r.Code, r.Stderr)
					}
				}
			}
		})
	}
	g.Wait()
	if got := n.must("images", "-q").Line(); len(got) != 12 {
		t.Errorf("images left: %q", got)
	}
}

// A registry falls silent in the middle of a layer: the pull says so once the limit
// has passed, one that is ended goes at once and frees what it had, a kubelet's other
// pulls go on meanwhile, and nothing of it stays.
func TestF45RegistryStalls(t *testing.T) {
	n := newNode(t, "")
	config, err := os.ReadFile(n.Roots.Config)
	if err == nil {
		text := strings.Replace(string(config), "[images]", "[images]\nstall_timeout = 2", 1)
		err = os.WriteFile(n.Roots.Config, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := n.serve()
	if err := n.registry.Push(t.Context(), "slow:1", bigImage(t, 2, 1, 100_000)); err != nil {
		t.Fatal(err)
	}
	p := n.newProxy()
	ref, store := p.ref("slow:1"), filepath.Join(n.Roots.Root, "storage")
	open := p.stall("/blobs/")
	defer open()
	n.within(60*time.Second, func() { n.fails(125, `registry .*has sent nothing for 2s`, "pull", "-q", ref) })
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		asked := p.count("/blobs/")
		cmd := n.Command(context.WithoutCancel(t.Context()), "pull", "-q", ref)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		n.eventually("it waits for a layer", func() bool { return p.count("/blobs/") > asked })
		n.within(10*time.Second, func() {
			_ = cmd.Process.Signal(sig)
			_ = cmd.Wait()
		})
	}
	var g sync.WaitGroup
	g.Go(func() {
		_, err := s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
		if err == nil || !strings.Contains(err.Error(), "RegistryUnavailable") || !strings.Contains(err.Error(), "has sent nothing") {
			t.Errorf("PullImage: %v", err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	g.Go(func() { // a kubelet that gives up
		_, err := s.images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: p.ref("slow") + "@" + n.digest("slow:1")}})
		if status.Code(err) != codes.Canceled {
			t.Errorf("a pull that is cancelled: %v", err)
		}
	})
	n.eventually("both wait for a layer", func() bool { return p.count("/blobs/") > 1 })
	_, err = s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: n.image}})
	if err != nil {
		t.Errorf("another pull: %v", err)
	}
	cancel()
	g.Wait()
	n.fails(1, "", "image", "exists", ref)
	open()
	n.must("pull", "-q", ref)
	// That of the pull that was killed goes with the first one a minute later.
	if left, _ := filepath.Glob(filepath.Join(store, "tmp", "davit-*")); len(left) > 1 {
		t.Errorf("left: %q", left)
	}
	n.must("rmi", ref)
	n.check()
}

// The ways in which a registry answers wrongly, by either face: the error says what
// and where, there are as many tries as there are to be, and nothing is stored.
func TestF46RegistryAnswersWrongly(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	if err := n.registry.Push(t.Context(), "bad:1", bigImage(t, 1, 1, 100_000)); err != nil {
		t.Fatal(err)
	}
	p := n.newProxy()
	ref := p.ref("bad:1")
	answer := func(text string, code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, text) {
				return false
			}
			if len(header) > 0 {
				w.Header().Set(header[0], strings.ReplaceAll(header[1], "PATH", r.URL.Path))
			}
			w.WriteHeader(code)
			return true
		}
	}
	const blobs, manifests, blob = "/blobs/", "/manifests/", "sha256:[0-9a-f]{64}"
	for _, tt := range []struct {
		name   string
		meddle func(http.ResponseWriter, *http.Request) bool
		says   string
		most   int // requests for what is wrong
	}{
		{"401", answer("/v2/", 401, "WWW-Authenticate", `Basic realm="x"`), "credentials", 20},
		{"403", answer(manifests, 403), "denies access to it$", 8},
		{"403 for a blob", answer(blobs, 403), "denies access to it$", 12},
		{"418", answer(manifests, 418), "answers HTTP 418$", 8},
		{"429", answer(manifests, 429, "Retry-After", "0"), "has had too many requests: try again later$", 8},
		{"429 for a blob", answer(blobs, 429, "Retry-After", "0"), "has had too many requests: try again later$", 30},
		{"500 for the manifest", answer(manifests, 500), "500", 8},
		{"500 for a blob", answer(blobs, 500), "500", 30},
		{"redirect loop", answer(blobs, 307, "Location", "http://"+p.addr+"PATH"), " at " + blob + ": stopped after 10 redirects", 100},
		{"truncated configuration", p.spoil(func(b []byte) []byte { return b[:len(b)/2] }, true), "broke at its configuration", 60},
		{"truncated blob", p.spoil(func(b []byte) []byte {
			if len(b) < 50_000 { // the configuration
				return b
			}
			return b[:len(b)/2]
		}, true), "broke at " + blob, 60},
		{"short blob", p.spoil(func(b []byte) []byte { return b[:len(b)/2] }, false), "does not match expected " + blob, 60},
		{"flipped blob", p.spoil(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, false), "does not match expected " + blob, 60},
		{"long blob", p.spoil(func(b []byte) []byte { return append(b, "more"...) }, false), "does not match expected " + blob, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.set(tt.meddle)
			r := n.fails(125, `(?m)^Error: .*`+regexp.QuoteMeta(p.addr)+`.*(`+tt.says+`)`, "pull", "-q", "--retry", "1", "--retry-delay", "10ms", ref)
			if lines := strings.Count(strings.TrimSpace(r.Stderr), "\n"); lines > 2 {
				t.Errorf("it says much:\n%s", r.Stderr)
			}
			t.Log(strings.TrimSpace(r.Stderr))
			if got := p.count("/v2/"); got > tt.most {
				t.Errorf("%d requests", got)
			}
			_, err := s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
			if code := status.Code(err); code == codes.OK || code == codes.Canceled {
				t.Errorf("PullImage: %v", err)
			}
			n.fails(1, "", "image", "exists", ref)
		})
	}
	// A registry that asks to be left alone for a while is.
	var asked []time.Time
	var mu sync.Mutex
	p.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, manifests) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, time.Now())
		return len(asked) == 1 && answer(manifests, 429, "Retry-After", "3")(w, r)
	})
	n.must("pull", "-q", ref)
	if len(asked) < 2 || asked[1].Sub(asked[0]) < 3*time.Second || asked[1].Sub(asked[0]) > 20*time.Second {
		t.Errorf("asked at %v, and was told to wait for 3 s", asked)
	}
	p.set(nil)
	n.must("pull", "-q", ref)
	n.must("rmi", ref)
	n.check()
}

// A layer that a pull has found in the store, and does not transfer, is removed before
// the pull needs it: it is transferred after all.
func TestF47LayerRemovedDuringPull(t *testing.T) {
	n := newNode(t, "")
	p := n.newProxy()
	config := harness.LayersConfig{Layers: 1, Files: 2, FileBytes: 10_000, Seed: 47}
	push := func(name string) v1.Image {
		image, err := harness.Layered(config)
		if err == nil {
			err = n.registry.Push(t.Context(), name, image)
		}
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	push("base:1")
	config.Layers = 2
	layers, err := push("grown:1").Layers()
	if err != nil {
		t.Fatal(err)
	}
	second, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	base, grown := n.registry.Ref("base:1"), p.ref("grown:1")
	n.must("pull", "-q", base)
	removed := make(chan struct{})
	p.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, second.String()) {
			<-removed
		}
		return false
	})
	var g sync.WaitGroup
	g.Go(func() {
		if r := n.try("pull", "-q", grown); r.Code != 0 {
			t.Errorf("pull: exit code %d\n%s", r.Code, r.Stderr)
		}
	})
	n.eventually("the second layer is asked for", func() bool { return p.count(second.String()) > 0 })
	time.Sleep(200 * time.Millisecond) // the first was looked for before it, by another goroutine
	r := n.try("rmi", base)
	close(removed)
	g.Wait()
	if r.Code != 0 {
		t.Errorf("rmi: exit code %d\n%s", r.Code, r.Stderr)
	}
	n.readable(grown)
	n.must("rmi", grown)
	n.check()
}

// Another process takes a folder that a pull extracts a layer into for a dead one's,
// as it finds that before its owner has locked it, and begins to clear it away: the
// image is whole all the same.
func TestF47LayerClearedAwayDuringPull(t *testing.T) {
	n := newNode(t, "")
	image, err := harness.Layered(harness.LayersConfig{Layers: 1, Files: 3000, FileBytes: 4000, Seed: 48})
	if err == nil {
		err = n.registry.Push(t.Context(), "cleared:1", image)
	}
	if err != nil {
		t.Fatal(err)
	}
	ref := n.registry.Ref("cleared:1")
	cleared := make(chan string, 1)
	go func() {
		for path := ""; path == "" && t.Context().Err() == nil; time.Sleep(time.Millisecond) {
			path = takeFile(filepath.Join(n.Roots.Root, "storage", "overlay", "tempdirs"))
			if path != "" {
				cleared <- path
			}
		}
	}()
	n.must("pull", "-q", ref)
	select {
	case path := <-cleared:
		t.Logf("taken: %s", path)
	default:
		t.Fatal("the pull was not disturbed")
	}
	n.readable(ref)
	n.must("rmi", ref)
	n.check()
}

// takeFile removes the lock and a file of a temporary folder, if there is one with
// files, and returns the file's path.
func takeFile(dir string) (path string) {
	const folder = "temp-dir-"
	_ = filepath.WalkDir(dir, func(at string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.Contains(at, folder) {
			return nil
		}
		_, id, _ := strings.Cut(at, folder)
		id, _, _ = strings.Cut(id, "/")
		if os.Remove(filepath.Join(dir, "lock-"+id)) == nil && os.Remove(at) == nil {
			path = at
		}
		return filepath.SkipAll
	})
	return path
}

// An image that is removed while it is pulled, and while a container is made of it
// and uses it: each is whole when it is there, the image of a container stays.
func TestF47RemovedWhilePulled(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	if err := n.registry.Push(t.Context(), "fleeting:1", bigImage(t, 3, 2, 50_000)); err != nil {
		t.Fatal(err)
	}
	ref := n.registry.Ref("fleeting:1")
	spec := &runtimeapi.ImageSpec{Image: ref}
	answered := func(what string, args ...string) func() {
		return func() {
			if r := n.try(args...); r.Code != 0 && (!strings.HasPrefix(r.Stderr, "Error: ") || r.Took > 30*time.Second) {
				t.Errorf("%s: exit code %d in %s\n%s", what, r.Code, r.Took, r.Stderr)
			}
		}
	}
	for range 12 {
		var g sync.WaitGroup
		g.Go(answered("pull", "pull", "-q", ref))
		g.Go(func() {
			if _, err := s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: spec}); err != nil && status.Code(err) != codes.Unavailable {
				t.Errorf("PullImage: %v", err)
			}
		})
		g.Go(answered("rmi", "rmi", "--force", ref))
		g.Go(func() {
			if _, err := s.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: spec}); err != nil {
				t.Errorf("RemoveImage: %v", err)
			}
		})
		g.Go(answered("run", "run", "--rm", "--network", "none", "--pull", "missing", ref, "true"))
		g.Wait()
	}
	n.must("pull", "-q", ref)
	n.must("run", "-d", "--name", "user", ref, "sleep", "1000")
	n.fails(2, "in use|container", "rmi", ref)
	n.must("exec", "user", "cat", "/data/2/1")
	n.must("rm", "--force", "-t", "0", "user")
	n.must("rmi", ref)
	n.empty()
}
