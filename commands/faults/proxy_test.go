//go:build faults

package faults

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// proxy stands before a node's registry and meddles with what it answers.
type proxy struct {
	t    *testing.T
	addr string
	// inner answers as the registry does.
	inner http.Handler

	mu     sync.Mutex
	meddle func(http.ResponseWriter, *http.Request) bool // nil, or not done: the registry answers
	asked  []string                                      // methods and paths
}

// newProxy starts a proxy that the node's davit trusts.
func (n *node) newProxy() *proxy {
	n.t.Helper()
	inner := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: n.registry.Addr})
	p := &proxy{t: n.t, inner: inner}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		meddle := p.meddle
		p.asked = append(p.asked, r.Method+" "+r.URL.Path)
		p.mu.Unlock()
		if meddle == nil || !meddle(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	n.t.Cleanup(srv.Close)
	p.addr = strings.TrimPrefix(srv.URL, "http://")
	f, err := os.OpenFile(n.Roots.Registries, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, "\n[[registry]]\nlocation = \""+p.addr+"\"\ninsecure = true\n"); err != nil {
		n.t.Fatal(err)
	}
	return p
}

// ref is the full reference of a repository and tag behind the proxy.
func (p *proxy) ref(repository string) string { return p.addr + "/" + repository }

// set changes how the proxy meddles, and forgets what it was asked for.
func (p *proxy) set(meddle func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meddle, p.asked = meddle, nil
}

// count is how many requests since set have a path with this text.
func (p *proxy) count(text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.asked {
		if strings.Contains(a, text) {
			n++
		}
	}
	return n
}

// stall lets nobody have what has this text in its path: the registry begins to
// answer and then is silent, until the client goes, or until open is called.
func (p *proxy) stall(text string) (open func()) {
	opened := make(chan struct{})
	p.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, text) {
			return false
		}
		select {
		case <-opened:
			return false
		default:
		}
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(make([]byte, 100))
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-opened:
		}
		return true
	})
	return sync.OnceFunc(func() { close(opened) })
}

// spoil changes the blobs that are asked for, and says their true length
// or that of what it sends.
func (p *proxy) spoil(how func([]byte) []byte, trueLength bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		rec := httptest.NewRecorder()
		p.inner.ServeHTTP(rec, r)
		data := rec.Body.Bytes()
		length := len(data)
		data = how(data)
		if !trueLength {
			length = len(data)
		}
		w.Header().Set("Content-Length", strconv.Itoa(length))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(data)
		return true
	}
}

// digest is that of a tag's manifest in the node's registry.
func (n *node) digest(repository string) string {
	n.t.Helper()
	name, tag, _ := strings.Cut(repository, ":")
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodHead, "http://"+n.registry.Addr+"/v2/"+name+"/manifests/"+tag, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}
