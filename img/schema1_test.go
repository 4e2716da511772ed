package img

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"go.podman.io/image/v5/manifest"
)

// The fixture is a signed schema 1 image, byte for byte as registries of 2015
// served them: its digest is that of what was signed, without the signature.
const schema1 = "testdata/schema1"

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// pushSchema1 uploads the fixture, with its manifest changed.
func pushSchema1(t *testing.T, ref string, change func(string) string) {
	t.Helper()
	host, rest, _ := strings.Cut(ref, "/")
	repo, tag, _ := strings.Cut(rest, ":")
	blobs, err := filepath.Glob(filepath.Join(schema1, "?????????????*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if filepath.Base(b) != "manifest.json" {
			pushBlob(t, host, repo, readFile(t, b))
		}
	}
	text := string(readFile(t, filepath.Join(schema1, "manifest.json")))
	put(t, "PUT", "http://"+host+"/v2/"+repo+"/manifests/"+tag, manifest.DockerV2Schema1SignedMediaType, []byte(change(text)), http.StatusCreated)
}

func TestSchema1(t *testing.T) {
	unpacks(t)
	reg, ctx := faultyRegistry(t), t.Context()
	same := func(s string) string { return s }
	pushSchema1(t, reg.host+"/old/hello:1", same)
	digest, err := manifest.Digest(readFile(t, filepath.Join(schema1, "manifest.json")))
	if err != nil {
		t.Fatal(err)
	}
	pushSchema1(t, reg.host+"/old/hello:bydigest", same)
	// The in-process registry knows manifests by their bytes; the signed part
	// is what the digest is of.
	reg.set(func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.Replace(r.URL.Path, digest.String(), "1", 1)
		return false
	}, nil)
	for _, ref := range []string{reg.host + "/old/hello:1", reg.host + "/old/hello@" + digest.String(), "dir:" + schema1} {
		t.Run(strings.ReplaceAll(ref, "/", " "), func(t *testing.T) {
			s := openTest(t)
			im, err := s.Pull(ctx, ref, quick())
			if err != nil {
				t.Fatal(err)
			}
			want := ImageConfig{
				User: "12", Env: []string{"PATH=/bin", "OLD=1"}, Cmd: []string{"/hello"}, WorkingDir: "/w",
				Labels: map[string]string{"era": "v1"}, ExposedPorts: []string{"80/tcp"},
			}
			if diff := cmp.Diff(want, im.Config); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if im.Digest != digest.String() || im.OS != "linux" || im.Architecture != "amd64" || im.Author != "somebody" || im.Created.Year() != 2015 {
				t.Errorf("image = %+v", im)
			}
			checkSchema1(t, s, im)
		})
	}
}

// checkSchema1 looks at the image's history and files, and saves it.
func checkSchema1(t *testing.T, s *Store, im Image) {
	t.Helper()
	ctx := t.Context()
	d, err := s.Inspect(ctx, im.ID)
	if err != nil {
		t.Fatal(err)
	}
	if h := d.History; len(h) != 3 || !h[1].Empty || h[0].Size == 0 || h[2].Size == 0 || !strings.Contains(h[1].CreatedBy, "ENV OLD=1") {
		t.Errorf("history = %+v", h)
	}
	if len(d.DiffIDs) != 2 {
		t.Errorf("DiffIDs = %v", d.DiffIDs)
	}
	if _, err := s.CreateRootfs(ctx, RootfsConfig{ID: "c", Image: im.ID}); err != nil {
		t.Fatal(err)
	}
	path, err := s.MountRootfs(ctx, "c")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(readFile(t, filepath.Join(path, "hello"))) + string(readFile(t, filepath.Join(path, "etc/os"))); got != "hello from schema 1\nschema one\n" {
		t.Errorf("files = %q", got)
	}
	if err := s.DeleteRootfs(ctx, "c"); err != nil {
		t.Error(err)
	}
	for _, format := range []SaveFormat{FormatDockerArchive, FormatOCIArchive} {
		out := filepath.Join(t.TempDir(), "saved")
		if err := s.Save(ctx, []string{im.ID}, SaveOptions{Format: format, Path: out}); err != nil {
			t.Errorf("saving as %s: %v", format, err)
			continue
		}
		loaded, err := openTest(t).Load(ctx, LoadOptions{Path: out})
		if err != nil {
			t.Errorf("loading %s: %v", format, err)
			continue
		}
		if diff := cmp.Diff(im.Config, loaded[0].Config); diff != "" {
			t.Errorf("config after %s (-want +got):\n%s", format, diff)
		}
	}
}

func TestSchema1Tampered(t *testing.T) {
	reg, s := faultyRegistry(t), openTest(t)
	digest, err := manifest.Digest(readFile(t, filepath.Join(schema1, "manifest.json")))
	if err != nil {
		t.Fatal(err)
	}
	pushSchema1(t, reg.host+"/old/hello:1", func(s string) string { return strings.Replace(s, "amd64", "amd65", 1) })
	reg.set(func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.Replace(r.URL.Path, digest.String(), "1", 1)
		return false
	}, nil)
	if _, err := s.Pull(t.Context(), reg.host+"/old/hello@"+digest.String(), quick()); !errors.Is(err, errdefs.ErrDataLoss) {
		t.Errorf("error = %v", err)
	}
	noTemp(t, s)
}
