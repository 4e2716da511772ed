package img

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestMain(m *testing.M) {
	if Reexec() {
		return
	}
	if code, done := asRoot(); done {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// asRoot runs the tests again in a user namespace, as its root, when the user
// is not root: unpacking a layer changes root. Where the kernel forbids that,
// the tests that unpack are skipped.
func asRoot() (code int, done bool) {
	const mark = "DAVIT_IMG_TEST_NAMESPACE"
	if os.Geteuid() == 0 || os.Getenv(mark) != "" {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	}
	return 0, false
}

// unpacks skips a test that unpacks layers where that cannot be done.
func unpacks(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("unpacking a layer takes root, or user namespaces")
	}
}

// openTest opens a store of its own.
func openTest(t *testing.T, change ...func(*Config)) *Store {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Driver: "vfs"}
	cfg.Registries = Registries{
		Conf: writeFile(t, dir, "registries.conf", ""), ConfDir: filepath.Join(dir, "none.d"), AuthFile: writeFile(t, dir, "auth.json", "{}"),
		Policy: writeFile(t, dir, "policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`), CertsDir: filepath.Join(dir, "certs.d"),
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func writeFile(t *testing.T, dir, base, text string) string {
	t.Helper()
	path := filepath.Join(dir, base)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testLayer makes a layer with these files.
func testLayer(t *testing.T, files map[string]string) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for path, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg, Uid: os.Getuid(), Gid: os.Getgid()}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// testImage makes an image of these layers, for this platform.
func testImage(t *testing.T, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	im, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", arch
	cf.Config = v1.Config{
		Cmd: []string{"/hello"}, Env: []string{"PATH=/bin"}, Labels: map[string]string{"a": "b"}, User: "7",
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, Volumes: map[string]struct{}{"/data": {}},
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "true"}, Interval: 5e9},
	}
	if im, err = mutate.ConfigFile(im, cf); err != nil {
		t.Fatal(err)
	}
	return im
}

// ociImage is an image with OCI's media types.
func ociImage(t *testing.T, im v1.Image) v1.Image {
	t.Helper()
	layers, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	cf, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	out := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		if out, err = mutate.Append(out, mutate.Addendum{Layer: l, MediaType: types.OCILayer}); err != nil {
			t.Fatal(err)
		}
	}
	if out, err = mutate.ConfigFile(out, cf); err != nil {
		t.Fatal(err)
	}
	return out
}

// fault is a registry in this process, with what a test puts between.
type fault struct {
	host string
	mu   sync.Mutex
	seen []string // METHOD PATH of each request
	// before may answer a request itself, by returning true.
	before func(w http.ResponseWriter, r *http.Request) bool
	// body may change what is answered.
	body func(path string, data []byte) []byte
}

func (f *fault) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen = append(f.seen, r.Method+" "+r.URL.Path)
		before, body := f.before, f.body
		f.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		if body == nil || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		data := body(r.URL.Path, rec.Body.Bytes())
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		if len(data) > rec.Body.Len() { // less is a truncation
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(data)
	})
}

// set changes the registry's behaviour.
func (f *fault) set(before func(w http.ResponseWriter, r *http.Request) bool, body func(path string, data []byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.body, f.seen = before, body, nil
}

// count counts the requests whose method and path contain text.
func (f *fault) count(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.seen {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n
}

// faultyRegistry starts a registry in this process.
func faultyRegistry(t *testing.T) *fault {
	t.Helper()
	f := &fault{}
	inner := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	srv := httptest.NewServer(f.handler(inner))
	t.Cleanup(srv.Close)
	f.host = strings.TrimPrefix(srv.URL, "http://")
	return f
}

// testRegistry starts a registry in this process and returns its host:port.
func testRegistry(t *testing.T) string { return faultyRegistry(t).host }

// pushIndex uploads images as one index.
func pushIndex(t *testing.T, ref string, images ...v1.Image) string {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	repo := ref[:strings.LastIndex(ref, ":")]
	for _, im := range images {
		cf, err := im.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		d, err := im.Digest()
		if err != nil {
			t.Fatal(err)
		}
		push(t, repo+"@"+d.String(), im)
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: im, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: cf.OS, Architecture: cf.Architecture}}})
	}
	raw, err := idx.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	host, rest, _ := strings.Cut(ref, "/")
	name, tag, _ := strings.Cut(rest, ":")
	put(t, "PUT", "http://"+host+"/v2/"+name+"/manifests/"+tag, string(types.OCIImageIndex), raw, http.StatusCreated)
	return fmt.Sprintf("sha256:%x", sha256.Sum256(raw))
}

// put sends data to a registry and expects status.
func put(t *testing.T, method, url, mediaType string, data []byte, status int) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
	return resp
}

// pushBlob uploads one blob.
func pushBlob(t *testing.T, host, repo string, data []byte) string {
	t.Helper()
	d := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	resp := put(t, "POST", "http://"+host+"/v2/"+repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	at, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	at.RawQuery = "digest=" + d
	put(t, "PUT", at.String(), "application/octet-stream", data, http.StatusCreated)
	return d
}

// push uploads an image as HOST/REPO:TAG or HOST/REPO@DIGEST.
func push(t *testing.T, ref string, im v1.Image) {
	t.Helper()
	host, rest, _ := strings.Cut(ref, "/")
	repo, tag, ok := strings.Cut(rest, "@")
	if !ok {
		repo, tag, _ = strings.Cut(rest, ":")
	}
	layers, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		pushBlob(t, host, repo, data)
	}
	config, err := im.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	pushBlob(t, host, repo, config)
	manifest, err := im.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	media, err := im.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	put(t, "PUT", "http://"+host+"/v2/"+repo+"/manifests/"+tag, string(media), manifest, http.StatusCreated)
}

func plain() Registry {
	no := false
	return Registry{TLSVerify: &no}
}
