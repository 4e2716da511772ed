package img

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSaveAndLoad(t *testing.T) {
	unpacks(t)
	s, host := openTest(t), testRegistry(t)
	base := testLayer(t, map[string]string{"base": strings.Repeat("base", 1000)})
	for ref, im := range map[string]string{"/one:1": "one", "/two:2": "two"} {
		push(t, host+ref, ociImage(t, testImage(t, "amd64", base, testLayer(t, map[string]string{im: im}))))
		if _, err := s.Pull(t.Context(), host+ref, PullOptions{Registry: plain()}); err != nil {
			t.Fatal(err)
		}
	}
	one, err := s.Resolve(t.Context(), "one:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), one.ID, "extra"); err != nil {
		t.Fatal(err)
	}
	both := []string{host + "/one:1", host + "/two:2"}
	all := []string{host + "/one:1", "localhost/extra:latest"}
	tests := []struct {
		name  string
		o     SaveOptions
		refs  []string
		want  []string // names after loading
		pull  string   // transport to pull it from, for one image
		named bool     // pulling has to name one
	}{
		{name: "docker archive", o: SaveOptions{Format: FormatDockerArchive}, refs: both[:1], want: both[:1], pull: "docker-archive:"},
		{name: "docker archive by ID", refs: []string{one.ID}, want: all, pull: "docker-archive:"},
		{name: "docker archive of two", refs: both, want: both},
		{name: "OCI archive", o: SaveOptions{Format: FormatOCIArchive}, refs: both[:1], want: both[:1], pull: "oci-archive:"},
		{name: "OCI archive of two", o: SaveOptions{Format: FormatOCIArchive, Uncompressed: true}, refs: both, want: both},
		{name: "OCI folder", o: SaveOptions{Format: FormatOCIDir}, refs: both[:1], want: both[:1], pull: "oci:"},
		{name: "OCI folder of two", o: SaveOptions{Format: FormatOCIDir}, refs: both, want: both},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			tt.o.Path = filepath.Join(t.TempDir(), "saved")
			if err := s.Save(ctx, tt.refs, tt.o); err != nil {
				t.Fatal(err)
			}
			fresh := openTest(t)
			loaded, err := fresh.Load(ctx, LoadOptions{Path: tt.o.Path})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, names(loaded), cmpopts.SortSlices(strings.Compare)); diff != "" {
				t.Errorf("loaded names (-want +got):\n%s", diff)
			}
			if loaded[0].ID != one.ID {
				t.Errorf("the ID changed from %s to %s", one.ID, loaded[0].ID)
			}
			if diff := cmp.Diff(one.Config, loaded[0].Config); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if tt.pull != "" {
				im, err := openTest(t).Pull(ctx, tt.pull+tt.o.Path, PullOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if im.ID != one.ID || len(im.Names) == 0 {
					t.Errorf("pulled %s as %s %v", tt.pull, im.ID, im.Names)
				}
			} else if _, err := fresh.Pull(ctx, strings.TrimSuffix(string(tt.o.Format), "-dir")+":"+tt.o.Path, PullOptions{}); len(tt.refs) > 1 && tt.o.Format != "" && err == nil {
				t.Error("pulling took one of two images without being told which")
			}
			noTemp(t, s)
			noTemp(t, fresh)
		})
	}
}

func TestSaveToWriterAndDir(t *testing.T) {
	unpacks(t)
	s, host, ctx := openTest(t), testRegistry(t), t.Context()
	push(t, host+"/one:1", testImage(t, "amd64", testLayer(t, map[string]string{"a": "a"})))
	im, err := s.Pull(ctx, host+"/one:1", PullOptions{Registry: plain()})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Save(ctx, []string{im.ID}, SaveOptions{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	loaded, err := openTest(t).Load(ctx, LoadOptions{Reader: &out})
	if err != nil || loaded[0].ID != im.ID {
		t.Errorf("loading from a reader: %v, %v", loaded, err)
	}
	dir := filepath.Join(t.TempDir(), "d")
	if err := s.Save(ctx, []string{im.ID}, SaveOptions{Format: FormatDockerDir, Path: dir}); err != nil {
		t.Fatal(err)
	}
	again, err := openTest(t).Pull(ctx, "dir:"+dir, PullOptions{})
	if err != nil || again.ID != im.ID {
		t.Errorf("pulling from a dir: %v, %v", again, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	s, dir := openTest(t), t.TempDir()
	tests := []struct {
		name, path string
		class      func(error) bool
	}{
		{"absent", filepath.Join(dir, "none"), errdefs.IsNotFound},
		{"empty folder", dir, errdefs.IsInvalidArgument},
		{"text", writeFile(t, dir, "text", strings.Repeat("no archive\n", 200)), errdefs.IsInvalidArgument},
		{"empty file", writeFile(t, dir, "empty", ""), errdefs.IsInvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Load(t.Context(), LoadOptions{Path: tt.path})
			if !tt.class(err) {
				t.Errorf("error = %v", err)
			}
			oneLine(t, err)
		})
	}
	noTemp(t, s)
}

func TestSaveFailureLeavesNothing(t *testing.T) {
	s, dir := openTest(t), t.TempDir()
	if err := s.Save(t.Context(), []string{"none"}, SaveOptions{Path: filepath.Join(dir, "out")}); !errdefs.IsNotFound(err) {
		t.Errorf("error = %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestImport(t *testing.T) {
	unpacks(t)
	s, ctx := openTest(t), t.Context()
	r, err := testLayer(t, map[string]string{"etc/hello": "hi"}).Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	im, err := s.Import(ctx, ImportOptions{
		Reader: r, Name: "made:1", Message: "by hand",
		Changes: []string{`CMD ["/bin/x","-v"]`, "ENV=A=1", "LABEL a=\"b c\" d=e", "EXPOSE 80 53/udp", "USER 7:7", "WORKDIR /w", "VOLUME /v", "STOPSIGNAL SIGINT", "ENTRYPOINT run it"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := ImageConfig{
		User: "7:7", Env: []string{"A=1"}, Entrypoint: []string{"/bin/sh", "-c", "run it"}, Cmd: []string{"/bin/x", "-v"}, WorkingDir: "/w", StopSignal: "SIGINT",
		Volumes: []string{"/v"}, ExposedPorts: []string{"53/udp", "80/tcp"}, Labels: map[string]string{"a": "b c", "d": "e"},
	}
	if diff := cmp.Diff(want, im.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if !slices.Equal(im.Names, []string{"localhost/made:1"}) {
		t.Errorf("names = %v", im.Names)
	}
	steps, err := s.History(ctx, "made:1")
	if err != nil || len(steps) != 1 || steps[0].Comment != "by hand" || steps[0].Size == 0 || steps[0].ID != im.ID {
		t.Errorf("history = %+v, %v", steps, err)
	}
	unnamed, err := s.Import(ctx, ImportOptions{Path: layerFile(t, map[string]string{"x": "y"})})
	if err != nil || !unnamed.Dangling() {
		t.Errorf("import without a name: %+v, %v", unnamed, err)
	}
	if _, err := s.Import(ctx, ImportOptions{Path: "/none", Changes: []string{"RUN x"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a bad change: %v", err)
	}
	noTemp(t, s)
}

func TestPullFromFiles(t *testing.T) {
	unpacks(t)
	s, ctx, dir := newStock(t), t.Context(), t.TempDir()
	refs := []string{s.host + "/app:1", s.host + "/lone:1"}
	for format, path := range map[SaveFormat]string{FormatDockerArchive: "d.tar", FormatOCIArchive: "o.tar", FormatOCIDir: "layout"} {
		if err := s.Save(ctx, refs, SaveOptions{Format: format, Path: filepath.Join(dir, path)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save(ctx, []string{s.ids["lone"]}, SaveOptions{Format: FormatOCIDir, Path: filepath.Join(dir, "bad")}); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "bad", "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		data := readFile(t, b)
		if data[0] != '{' { // the layer
			data[len(data)/2] ^= 1
			writeFile(t, filepath.Dir(b), filepath.Base(b), string(data))
		}
	}
	tests := []struct {
		ref  string
		want string // a name of newStock
		err  func(error) bool
	}{
		{ref: "docker-archive:" + dir + "/d.tar:" + refs[1], want: "lone"},
		{ref: "docker-archive:" + dir + "/d.tar:@0", want: "app"},
		{ref: "docker-archive:" + dir + "/d.tar:none:1", err: errdefs.IsNotFound},
		{ref: "docker-archive:" + dir + "/d.tar", err: errdefs.IsInvalidArgument},
		{ref: "docker-archive:" + dir + "/o.tar", err: errdefs.IsNotFound},
		{ref: "oci-archive:" + dir + "/o.tar:" + refs[1], want: "lone"},
		{ref: "oci-archive:" + dir + "/o.tar:none", err: errdefs.IsNotFound},
		{ref: "oci-archive:" + dir + "/o.tar", err: errdefs.IsInvalidArgument},
		{ref: "oci:" + dir + "/layout:" + refs[0], want: "app"},
		{ref: "oci:" + dir + "/layout:none", err: errdefs.IsNotFound},
		{ref: "oci:" + dir + "/layout", err: errdefs.IsInvalidArgument},
		{ref: "oci:" + dir, err: errdefs.IsNotFound},
		{ref: "oci:" + dir + "/bad", err: errdefs.IsDataLoss},
		{ref: "dir:" + dir, err: errdefs.IsNotFound},
	}
	for _, tt := range tests {
		t.Run(strings.TrimPrefix(strings.ReplaceAll(tt.ref, dir, ""), s.host), func(t *testing.T) {
			fresh := openTest(t)
			im, err := fresh.Pull(ctx, tt.ref, PullOptions{})
			if tt.err != nil {
				if !tt.err(err) {
					t.Errorf("error = %v", err)
				}
				oneLine(t, err)
			} else if err != nil || layersOf(t, fresh, im.ID) != layersOf(t, s.Store, s.ids[tt.want]) {
				t.Errorf("Pull = %v, %v", im.Names, err)
			}
			noTemp(t, fresh)
		})
	}
}

// layersOf are an image's diffIDs.
func layersOf(t *testing.T, s *Store, id string) string {
	t.Helper()
	d, err := s.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(d.DiffIDs, " ")
}

// layerFile writes a tar file with these files.
func layerFile(t *testing.T, files map[string]string) string {
	t.Helper()
	r, err := testLayer(t, files).Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, t.TempDir(), "layer.tar", buf.String())
}

func names(images []Image) []string {
	var out []string
	for _, im := range images {
		out = append(out, im.Names...)
	}
	return out
}

// noTemp checks that no temporary file is left in the store.
func noTemp(t *testing.T, s *Store) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s.storage().GraphRoot(), "tmp", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	locks, err := filepath.Glob(filepath.Join(s.storage().RunRoot(), "davit-pull", "*"))
	if err != nil || len(locks) > 0 {
		t.Errorf("left behind: %v, %v", locks, err)
	}
}

// oneLine checks that an error is a line that can be shown.
func oneLine(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if text := err.Error(); strings.Contains(text, "\n") || len(text) > 300 {
		t.Errorf("not one clear line: %s", text)
	}
	t.Log(err)
}
