package img

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestMain(m *testing.M) {
	if Reexec() {
		return
	}
	os.Exit(m.Run())
}

// openTest opens a store of its own. Unpacking keeps the owners of files, so
// that even with vfs it takes root, or an archive of one's own files only.
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
	t.Setenv("CONTAINERS_SHORT_NAME_ALIASES_FILE", filepath.Join(dir, "aliases.conf"))
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

// testRegistry starts a registry in this process and returns its host:port.
func testRegistry(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
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

func TestPullResolveRemove(t *testing.T) {
	s, host, ctx := openTest(t), testRegistry(t), t.Context()
	im := testImage(t, "amd64", testLayer(t, map[string]string{"hello": "hi"}), testLayer(t, map[string]string{"more": strings.Repeat("x", 1000)}))
	push(t, host+"/lib/hello:1", im)
	var kinds []ProgressKind
	got, err := s.Pull(ctx, host+"/lib/hello:1", PullOptions{Registry: plain(), Progress: func(e ProgressEvent) { kinds = append(kinds, e.Kind) }})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := im.ConfigName()
	if got.ID != want.Hex {
		t.Errorf("ID = %s, want %s", got.ID, want.Hex)
	}
	data, _ := json.MarshalIndent(got, "", " ")
	fmt.Println(string(data), kinds, got.RepoDigests())
	for _, ref := range []string{got.ID, got.ID[:12], "sha256:" + got.ID, host + "/lib/hello:1", "hello:1", "lib/hello:1", got.Digest, host + "/lib/hello@" + got.Digest, "sha256:" + got.ID[:7]} {
		found, err := s.Resolve(ctx, ref)
		if err != nil || found.ID != got.ID {
			t.Errorf("Resolve(%q) = %v, %v", ref, found.ID, err)
		}
	}
	for _, ref := range []string{"hello", "nope", "hello:2", strings.Repeat("0", 64), "sha256:" + strings.Repeat("0", 64), "0000000", ""} {
		_, err := s.Resolve(ctx, ref)
		if !errors.Is(err, errdefs.ErrNotFound) && ref != "" {
			t.Errorf("Resolve(%q) = %v", ref, err)
		}
		fmt.Println(err)
	}
	list, err := s.List(ctx, ListOptions{})
	if err != nil || len(list) != 1 {
		t.Errorf("List = %v, %v", list, err)
	}
	_, err = s.CreateRootfs(ctx, RootfsConfig{ID: "c1", Image: got.ID, Name: "web", Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.MountRootfs(ctx, "c1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(path, "hello"))
	fmt.Println(string(b), err)
	if err := s.UnmountRootfs(ctx, "c1"); err != nil {
		t.Error(err)
	}
	if err := s.UnmountRootfs(ctx, "c1"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteRootfs(ctx, "c1"); err != nil {
		t.Error(err)
	}
	fmt.Println(s.DeleteRootfs(ctx, "c1"), s.UnmountRootfs(ctx, "c1"))
	_, err = s.CreateRootfs(ctx, RootfsConfig{ID: "c2", Image: strings.Repeat("0", 64)})
	fmt.Println(err)
	_ = context.Canceled
}
