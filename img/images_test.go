package img

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// stock is a store with images, and their IDs by name.
type stock struct {
	*Store
	host string
	ids  map[string]string
}

// newStock has images base:1, app:1 on top of it, and lone:1.
func newStock(t *testing.T) stock {
	t.Helper()
	unpacks(t)
	s := stock{openTest(t), testRegistry(t), map[string]string{}}
	base, app := testLayer(t, map[string]string{"base": strings.Repeat("b", 10000)}), testLayer(t, map[string]string{"app": strings.Repeat("a", 5000)})
	lone := testLayer(t, map[string]string{"lone": strings.Repeat("l", 3000)})
	push(t, s.host+"/base:1", testImage(t, "amd64", base))
	push(t, s.host+"/app:1", testImage(t, "amd64", base, app))
	push(t, s.host+"/lone:1", testImage(t, "amd64", lone))
	for _, n := range []string{"base", "app", "lone"} {
		im, err := s.Pull(t.Context(), s.host+"/"+n+":1", quick())
		if err != nil {
			t.Fatal(err)
		}
		s.ids[n] = im.ID
	}
	return s
}

// left are the images that are there, by the names of newStock.
func (s stock) left(t *testing.T) []string {
	t.Helper()
	list, err := s.List(t.Context(), ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for n, id := range s.ids {
		if slices.ContainsFunc(list, func(i Image) bool { return i.ID == id }) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

func TestRemove(t *testing.T) {
	tests := []struct {
		name     string
		prepare  func(t *testing.T, s stock)
		ref      func(s stock) string
		o        RemoveOptions
		left     []string
		untagged int
		deleted  int
		wantErr  func(error) bool
	}{
		{name: "by name", ref: named("app:1"), left: []string{"base", "lone"}, untagged: 1, deleted: 1},
		{name: "by ID", ref: id("app"), left: []string{"base", "lone"}, untagged: 1, deleted: 1},
		{name: "below another", ref: named("base:1"), left: []string{"app", "lone"}, untagged: 1, deleted: 1},
		{name: "absent", ref: named("none"), left: []string{"app", "base", "lone"}, wantErr: errdefs.IsNotFound},
		{name: "one of two names", prepare: tag("app", "second"), ref: named("second"), left: []string{"app", "base", "lone"}, untagged: 1},
		{name: "ID of two names", prepare: tag("app", "second"), ref: id("app"), left: []string{"app", "base", "lone"}, wantErr: func(err error) bool {
			return errors.Is(err, ErrSeveralNames) && errdefs.IsFailedPrecondition(err)
		}},
		{name: "ID of two names by force", prepare: tag("app", "second"), ref: id("app"), o: RemoveOptions{Force: true}, left: []string{"base", "lone"}, untagged: 2, deleted: 1},
		{name: "name of two by force", prepare: tag("app", "second"), ref: named("second"), o: RemoveOptions{Force: true}, left: []string{"base", "lone"}, untagged: 2, deleted: 1},
		{name: "parent without a name goes too", prepare: untag("base"), ref: named("app:1"), left: []string{"lone"}, untagged: 1, deleted: 2},
		{name: "parent is kept", prepare: untag("base"), ref: named("app:1"), o: RemoveOptions{KeepParents: true}, left: []string{"base", "lone"}, untagged: 1, deleted: 1},
		{name: "in use", prepare: use("app"), ref: named("app:1"), left: []string{"app", "base", "lone"}, wantErr: inUse("c1")},
		{name: "in use by force", prepare: use("app"), ref: named("app:1"), o: RemoveOptions{Force: true}, left: []string{"app", "base", "lone"}, wantErr: inUse("c1")},
		{name: "in use, one of two names", prepare: func(t *testing.T, s stock) { use("app")(t, s); tag("app", "second")(t, s) }, ref: named("second"), left: []string{"app", "base", "lone"}, untagged: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStock(t)
			if tt.prepare != nil {
				tt.prepare(t, s)
			}
			got, err := s.Remove(t.Context(), tt.ref(s), tt.o)
			if tt.wantErr == nil && err != nil || tt.wantErr != nil && !tt.wantErr(err) {
				t.Errorf("error = %v", err)
			}
			if len(got.Untagged) != tt.untagged || len(got.Deleted) != tt.deleted {
				t.Errorf("removed = %+v, want %d untagged and %d deleted", got, tt.untagged, tt.deleted)
			}
			if diff := cmp.Diff(tt.left, s.left(t)); diff != "" {
				t.Errorf("images left (-want +got):\n%s", diff)
			}
		})
	}
}

func named(n string) func(stock) string { return func(stock) string { return n } }
func id(n string) func(stock) string    { return func(s stock) string { return s.ids[n] } }

func tag(n, name string) func(*testing.T, stock) {
	return func(t *testing.T, s stock) {
		if err := s.Tag(t.Context(), s.ids[n], name); err != nil {
			t.Fatal(err)
		}
	}
}

func untag(n string) func(*testing.T, stock) {
	return func(t *testing.T, s stock) {
		if err := s.Untag(t.Context(), s.ids[n]); err != nil {
			t.Fatal(err)
		}
	}
}

func use(n string) func(*testing.T, stock) {
	return func(t *testing.T, s stock) {
		if _, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "c1", Image: s.ids[n]}); err != nil {
			t.Fatal(err)
		}
	}
}

func inUse(containers ...string) func(error) bool {
	return func(err error) bool {
		var e *InUseError
		return errors.As(err, &e) && slices.Equal(e.Containers, containers) && errdefs.IsFailedPrecondition(err)
	}
}

func TestTags(t *testing.T) {
	s, ctx := newStock(t), t.Context()
	if err := s.Tag(ctx, "app:1", "short", "reg.example/x/y:2", "short"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"short", "localhost/short", "reg.example/x/y:2", "y:2"} {
		if im, err := s.Resolve(ctx, ref); err != nil || im.ID != s.ids["app"] {
			t.Errorf("Resolve(%q) = %s, %v", ref, im.ID, err)
		}
	}
	// A name moves.
	if err := s.Tag(ctx, "lone:1", "short"); err != nil {
		t.Fatal(err)
	}
	if im, err := s.Resolve(ctx, "short"); err != nil || im.ID != s.ids["lone"] {
		t.Errorf("after moving the tag: %s, %v", im.ID, err)
	}
	for _, bad := range []string{"UP", "x@" + "sha256:" + strings.Repeat("0", 64), "", "a b"} {
		if err := s.Tag(ctx, "app:1", "fine", bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Tag(%q) = %v", bad, err)
		}
	}
	if ok, err := s.Exists(ctx, "fine"); ok || err != nil {
		t.Errorf("a refused tag left half of it: %v, %v", ok, err)
	}
	if err := s.Untag(ctx, "app:1", "y:2", "lone:1"); !errdefs.IsNotFound(err) {
		t.Errorf("Untag of another's name: %v", err)
	}
	if ok, err := s.Exists(ctx, "y:2"); !ok || err != nil {
		t.Errorf("a refused untag did half of it: %v, %v", ok, err)
	}
	if err := s.Untag(ctx, "app:1", "y:2"); err != nil {
		t.Error(err)
	}
	if err := s.Untag(ctx, s.ids["app"]); err != nil {
		t.Error(err)
	}
	if im, err := s.Get(ctx, s.ids["app"]); err != nil || !im.Dangling() {
		t.Errorf("after untagging: %v, %v", im.Names, err)
	}
	if ok, err := s.Exists(ctx, "app:1"); ok || err != nil {
		t.Errorf("Exists = %v, %v", ok, err)
	}
}

func TestAmbiguous(t *testing.T) {
	unpacks(t)
	s, ctx := newStock(t), t.Context()
	var e *AmbiguousError
	if err := s.Tag(ctx, s.ids["app"], "a.example/same", "b.example/other"); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, s.ids["lone"], "b.example/same"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve(ctx, "same"); !errors.As(err, &e) || len(e.IDs) != 2 {
		t.Errorf("a short name of two images: %v", err)
	}
	// Some digit begins the IDs of two images, once there are enough of them.
	for i := range 20 {
		if _, err := s.Import(ctx, ImportOptions{Path: layerFile(t, map[string]string{"n": strings.Repeat("n", i)})}); err != nil {
			t.Fatal(err)
		}
	}
	found := false
	for _, digit := range "0123456789abcdef" {
		_, err := s.Resolve(ctx, string(digit))
		found = found || errors.As(err, &e) && len(e.IDs) > 1 && strings.Contains(err.Error(), e.IDs[0][:12])
	}
	if !found {
		t.Error("no prefix of one digit is ambiguous among 23 images")
	}
}

func TestListUsagePrune(t *testing.T) {
	s, ctx := newStock(t), t.Context()
	u, err := s.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, im := range u.Images {
		sum += im.Unique
		if im.ID == s.ids["app"] && (im.Shared < 10000 || im.Unique < 5000 || im.Size != im.Shared+im.Unique) {
			t.Errorf("usage of app = %+v", im)
		}
	}
	if u.Size <= sum || u.Reclaimable != u.Size {
		t.Errorf("size %d, of which unique %d, reclaimable %d", u.Size, sum, u.Reclaimable)
	}
	use("app")(t, s)
	untag("base")(t, s)
	untag("lone")(t, s)
	list, err := s.List(ctx, ListOptions{})
	if err != nil || len(list) != 2 {
		t.Errorf("List = %d images, %v; want app and lone", len(list), err)
	}
	if u, err = s.Usage(ctx); err != nil || u.Reclaimable >= u.Size || u.Reclaimable < 3000 {
		t.Errorf("usage = %+v, %v", u, err)
	}
	dry, err := s.Prune(ctx, PruneOptions{DryRun: true})
	if err != nil || len(dry.Images) != 1 || dry.Images[0].ID != s.ids["lone"] || dry.Reclaimed < 3000 {
		t.Errorf("dry run = %+v, %v", dry, err)
	}
	if diff := cmp.Diff([]string{"app", "base", "lone"}, s.left(t)); diff != "" {
		t.Errorf("after a dry run (-want +got):\n%s", diff)
	}
	p, err := s.Prune(ctx, PruneOptions{})
	if err != nil || len(p.Images) != 1 || p.Images[0].ID != s.ids["lone"] || p.Reclaimed != dry.Reclaimed {
		t.Errorf("Prune = %+v, %v", p, err)
	}
	if p, err = s.Prune(ctx, PruneOptions{All: true}); err != nil || len(p.Images) != 0 {
		t.Errorf("Prune of what is in use = %+v, %v", p, err)
	}
	if err := s.DeleteRootfs(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	if p, err = s.Prune(ctx, PruneOptions{All: true, Keep: func(i Image) bool { return i.ID == s.ids["app"] }}); err != nil || len(p.Images) != 0 {
		t.Errorf("Prune of what is kept = %+v, %v", p, err)
	}
	if p, err = s.Prune(ctx, PruneOptions{All: true}); err != nil || len(p.Images) != 2 {
		t.Errorf("Prune = %+v, %v", p, err)
	}
	if layers, err := s.storage().Layers(); err != nil || len(layers) > 0 {
		t.Errorf("layers left: %d, %v", len(layers), err)
	}
}

func TestInspectAndHistory(t *testing.T) {
	s, ctx := newStock(t), t.Context()
	untag("base")(t, s)
	d, err := s.Inspect(ctx, "app:1")
	if err != nil {
		t.Fatal(err)
	}
	if len(d.DiffIDs) != 2 || len(d.Layers) != 2 || len(d.History) != 2 || d.Parent != s.ids["base"] || d.ManifestType == "" || len(d.RawConfig) == 0 {
		t.Errorf("Inspect = %+v", d)
	}
	if d.History[0].ID != d.ID || d.History[0].Size < 5000 || d.History[1].Size < 10000 || d.History[1].ID != "" {
		t.Errorf("History = %+v", d.History)
	}
	if want := s.host + "/app@" + d.Digest; !slices.Equal(d.RepoDigests(), []string{want}) {
		t.Errorf("RepoDigests = %v, want %v", d.RepoDigests(), want)
	}
	if _, err := s.Inspect(ctx, "none"); !errdefs.IsNotFound(err) {
		t.Errorf("Inspect of none = %v", err)
	}
}

func TestPruneTakesOldOrphansOnly(t *testing.T) {
	s, ctx := newStock(t), t.Context()
	base, err := s.storage().CreateLayer("", "", nil, "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.storage().CreateLayer("", base.ID, nil, "", false, nil); err != nil {
		t.Fatal(err)
	}
	before := layerCount(t, s)
	if _, err := s.Prune(ctx, PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := layerCount(t, s); n != before {
		t.Errorf("%d layers after a prune, %d before: young ones may be of a pull", n, before)
	}
	if _, err := s.pruneLayers(base.Created.Add(orphanAge)); err != nil {
		t.Fatal(err)
	}
	if n := layerCount(t, s); n != before-2 {
		t.Errorf("%d layers after a prune of old ones, want %d", n, before-2)
	}
}

func layerCount(t *testing.T, s stock) int {
	t.Helper()
	layers, err := s.storage().Layers()
	if err != nil {
		t.Fatal(err)
	}
	return len(layers)
}

func TestFileSystemsWalksALayerOnce(t *testing.T) {
	unpacks(t)
	s, host := openTest(t), testRegistry(t)
	push(t, host+"/fs:1", testImage(t, "amd64", testLayer(t, map[string]string{"a": "x", "b": "y"})))
	im, err := s.Pull(t.Context(), host+"/fs:1", quick())
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.FileSystems(t.Context())
	if err != nil || first.Images.Inodes < 2 || first.Images.Bytes == 0 || first.Images.Path != s.storage().GraphRoot() {
		t.Fatalf("%+v, %v", first, err)
	}
	// A walk would count this.
	dir := filepath.Join(s.storage().GraphRoot(), "vfs", "dir", im.TopLayer)
	if err := os.WriteFile(filepath.Join(dir, "more"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := s.FileSystems(t.Context())
	if err != nil || second.Images.Inodes != first.Images.Inodes {
		t.Errorf("the second time it is %+v, %v", second, err)
	}
	push(t, host+"/fs:2", testImage(t, "amd64", testLayer(t, map[string]string{"c": "z"})))
	if _, err := s.Pull(t.Context(), host+"/fs:2", quick()); err != nil {
		t.Fatal(err)
	}
	if third, err := s.FileSystems(t.Context()); err != nil || third.Images.Inodes <= first.Images.Inodes || third.Images.Inodes > first.Images.Inodes+4 {
		t.Errorf("with one more image it is %+v, %v", third, err)
	}
}

func TestCredentialsAreForOneRegistry(t *testing.T) {
	for _, tt := range []struct {
		server, host string
		want         bool
	}{
		{"", "r.io", true},
		{"r.io", "r.io", true},
		{"https://R.io/v1/", "r.io", true},
		{"http://r.io:5000", "r.io:5000", true},
		{"r.io:5000", "r.io", false},
		{"https://index.docker.io/v1/", "docker.io", true},
		{"evil.io/r.io", "r.io", false},
		{"r.io.evil.io", "r.io", false},
	} {
		if got := (&Credentials{Username: "u", Server: tt.server}).at(tt.host) != nil; got != tt.want {
			t.Errorf("credentials for %q are given to %q: %v", tt.server, tt.host, got)
		}
	}
}

func TestSweepLeavesWhatIsUsed(t *testing.T) {
	unpacks(t)
	s, host := openTest(t), testRegistry(t)
	push(t, host+"/sw:1", testImage(t, "amd64", testLayer(t, map[string]string{"a": "x"})))
	im, err := s.Pull(t.Context(), host+"/sw:1", quick())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: strings.Repeat("c", 64), Image: im.ID}); err != nil {
		t.Fatal(err)
	}
	// What a process that died in the middle of making a layer leaves.
	left := filepath.Join(s.storage().GraphRoot(), "vfs", "dir", strings.Repeat("e", 64))
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the remains of a layer are still there: %v", err)
	}
	path, err := s.MountRootfs(t.Context(), strings.Repeat("c", 64))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "a")); err != nil {
		t.Error(err)
	}
}

// The store is given the label of a root filesystem's files, and keeps it.
func TestRootfsLabel(t *testing.T) {
	s := openTest(t)
	const label = "system_u:object_r:container_file_t:s0:c1,c2"
	made, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "labelled", MountLabel: label})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := s.storage().Layer(made.Layer)
	if err != nil || layer.MountLabel != label {
		t.Errorf("label %q, error %v", layer.MountLabel, err)
	}
}
