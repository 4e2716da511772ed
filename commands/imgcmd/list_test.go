package imgcmd

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

func day(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }

func someImages() []img.Image {
	return []img.Image{
		{
			ID: strings.Repeat("a", 64), Names: []string{"docker.io/library/busybox:latest", "localhost/tool:v1"}, Digest: "sha256:11",
			Size: 1988239, Created: day(5), Config: img.ImageConfig{Labels: map[string]string{"tier": "1"}},
		},
		{ID: strings.Repeat("b", 64), Names: []string{"host:5000/app@sha256:22"}, Size: 5_000_000, Created: day(3), ReadOnly: true},
		{ID: strings.Repeat("c", 64), Size: 10, Created: day(1)},
	}
}

// fixed finds images in a list, by the name of their repository.
type fixed []img.Image

func (f fixed) Resolve(_ context.Context, ref string) (img.Image, error) {
	for _, im := range f {
		if matchesName(im, ref) || strings.HasPrefix(im.ID, ref) {
			return im, nil
		}
	}
	return img.Image{}, fmt.Errorf("image %q: %w", ref, errdefs.ErrNotFound)
}

func (f fixed) List(context.Context, img.ListOptions) ([]img.Image, error) { return f, nil }

func TestAbsent(t *testing.T) {
	for ref, want := range map[string]string{
		"busybx":                      "did you mean busybox?",
		"library/busyboy":             "did you mean library/busybox?",
		"tool:v2":                     "did you mean tool:v1?",
		"docker.io/library/busybox:l": "did you mean docker.io/library/busybox:latest?",
		"something":                   "davit images lists what is here",
	} {
		err := absent(t.Context(), fixed(someImages()), ref, fmt.Errorf("image %q: %w", ref, errdefs.ErrNotFound))
		if _, hint := cli.Message(err); hint != want || cli.RemoveCode(err) != cli.CodeAbsent {
			t.Errorf("%s: hint %q, want %q; code %d", ref, hint, want, cli.RemoveCode(err))
		}
	}
	if err := absent(t.Context(), fixed(nil), "x", nil); err != nil {
		t.Error("no error became one")
	}
}

func testEnv(out *bytes.Buffer) *cli.Env {
	env := cli.NewEnv(cli.Streams{Out: out, Err: out}, []string{"DAVIT_CONFIG=/dev/null"})
	env.Now = func() time.Time { return day(7) }
	return env
}

func TestList(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    listOptions
		none bool
		want string
	}{
		{
			name: "table", o: listOptions{Sort: "created"},
			want: `REPOSITORY                 TAG     IMAGE ID      CREATED     SIZE
docker.io/library/busybox  latest  aaaaaaaaaaaa  2 days ago  1.99 MB
localhost/tool             v1      aaaaaaaaaaaa  2 days ago  1.99 MB
host:5000/app              <none>  bbbbbbbbbbbb  4 days ago  5 MB
<none>                     <none>  cccccccccccc  6 days ago  10 B
`,
		},
		{
			name: "digests by size", o: listOptions{Sort: "size", Digests: true, NoHeading: true},
			want: `<none>                     <none>  <none>     cccccccccccc  6 days ago  10 B
docker.io/library/busybox  latest  sha256:11  aaaaaaaaaaaa  2 days ago  1.99 MB
localhost/tool             v1      sha256:11  aaaaaaaaaaaa  2 days ago  1.99 MB
host:5000/app              <none>  <none>     bbbbbbbbbbbb  4 days ago  5 MB
`,
		},
		{name: "quiet", o: listOptions{Sort: "created", Quiet: true}, want: "aaaaaaaaaaaa\nbbbbbbbbbbbb\ncccccccccccc\n"},
		{name: "quiet and whole", o: listOptions{Sort: "id", Quiet: true, NoTrunc: true}, want: strings.Repeat("a", 64) + "\n" + strings.Repeat("b", 64) + "\n" + strings.Repeat("c", 64) + "\n"},
		{name: "template", o: listOptions{Sort: "repository", Format: "{{.Repository}}:{{.Tag}} {{.CreatedAt}}"},
			want: "<none>:<none> " + cli.Time(day(1)) + "\ndocker.io/library/busybox:latest " + cli.Time(day(5)) + "\nhost:5000/app:<none> " + cli.Time(day(3)) + "\nlocalhost/tool:v1 " + cli.Time(day(5)) + "\n"},
		{name: "empty", o: listOptions{Sort: "created"}, none: true, want: "REPOSITORY  TAG  IMAGE ID  CREATED  SIZE\n"},
		{name: "empty and quiet", o: listOptions{Sort: "created", Quiet: true}, none: true},
		{name: "empty JSON", o: listOptions{Sort: "created", Format: "json"}, none: true, want: "[]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			images := someImages()
			if tt.none {
				images = nil
			}
			var out bytes.Buffer
			if err := tt.o.print(testEnv(&out), images); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestListJSON(t *testing.T) {
	var out bytes.Buffer
	if err := (listOptions{Format: "json"}).print(testEnv(&out), someImages()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Size": 1988239`, `"Created": "2026-01-05T`, `"Labels": {}`, `"RepoTags": []`, `"Dangling": true`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), `"Id"`); n != 3 {
		t.Errorf("%d images in the JSON", n)
	}
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		filter []string
		name   string
		want   string
	}{
		{nil, "", "abc"},
		{nil, "busybox", "a"},
		{nil, "busybox:latest", "a"},
		{nil, "library/busybox", "a"},
		{nil, "busybox:v2", ""},
		{nil, "*/app", "b"},
		{nil, "usybox", ""},
		{[]string{"dangling=true"}, "", "c"},
		{[]string{"dangling=false"}, "", "ab"},
		{[]string{"readonly=true"}, "", "b"},
		{[]string{"reference=busybox", "reference=app"}, "", "ab"},
		{[]string{"reference=busy*", "dangling=true"}, "", ""},
		{[]string{"label=tier"}, "", "a"},
		{[]string{"label=tier=2"}, "", ""},
		{[]string{"label!=tier"}, "", "bc"},
		{[]string{"id=bbb"}, "", "b"},
		{[]string{"before=app"}, "", "c"},
		{[]string{"since=app"}, "", "a"},
		{[]string{"until=72h"}, "", "bc"},
		{[]string{"until=2026-01-02"}, "", "c"},
	} {
		f, err := parseFilters(tt.filter)
		if err != nil {
			t.Errorf("%v: %v", tt.filter, err)
			continue
		}
		f.name = tt.name
		got, err := f.apply(t.Context(), fixed(someImages()), someImages(), day(7))
		if err != nil {
			t.Errorf("%v: %v", tt.filter, err)
		}
		ids := ""
		for _, im := range got {
			ids += im.ID[:1]
		}
		if ids != tt.want {
			t.Errorf("%v %s: %q, want %q", tt.filter, tt.name, ids, tt.want)
		}
	}
	f, err := parseFilters([]string{"before=nope"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.apply(t.Context(), fixed(nil), nil, day(7)); !errdefs.IsNotFound(err) {
		t.Errorf("before an image that is not there: %v", err)
	}
}

func TestPruneKeep(t *testing.T) {
	keep, err := pruneOptions{Filter: []string{"until=72h", "label!=keep"}}.parse(day(7))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, im := range someImages() {
		if keep(im) {
			got += im.ID[:1]
		}
	}
	if got != "a" {
		t.Errorf("keeps %q, want the one that is young", got)
	}
}

func TestHistory(t *testing.T) {
	steps := []img.HistoryEntry{
		{ID: strings.Repeat("a", 64), Created: day(5), CreatedBy: "CMD [\"sh\"]", Empty: true, Comment: "last"},
		{Created: day(4), CreatedBy: "ADD\t" + strings.Repeat("x", 60), Size: 1500},
	}
	var out bytes.Buffer
	if err := (historyOptions{Human: true}).print(testEnv(&out), steps); err != nil {
		t.Fatal(err)
	}
	want := `ID            CREATED     CREATED BY                                     SIZE    COMMENT
aaaaaaaaaaaa  2 days ago  CMD ["sh"]                                     0 B     last
<missing>     3 days ago  ADD xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...  1.5 kB
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	if err := (historyOptions{NoTrunc: true, Format: "{{.Size}} {{.Created}}"}).print(testEnv(&out), steps); err != nil {
		t.Fatal(err)
	}
	if want := "0 " + cli.Time(day(5)) + "\n1500 " + cli.Time(day(4)) + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestInspection(t *testing.T) {
	d := img.Details{
		Image:   someImages()[0],
		DiffIDs: []string{"sha256:33"}, Driver: "overlay",
		History: []img.HistoryEntry{{CreatedBy: "second", Empty: true}, {CreatedBy: "first"}},
	}
	d.Config.ExposedPorts = []string{"80/tcp"}
	d.Config.Healthcheck = &img.Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Second}
	got := inspection(d)
	if got.History[0].CreatedBy != "first" || !got.History[1].EmptyLayer {
		t.Errorf("history %+v", got.History)
	}
	var out bytes.Buffer
	if err := cli.PrintObjects(&out, "", []Inspection{got}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"Id": "aaaa`, `"80/tcp": {}`, `"Interval": 1000000000`, `"Layers": [`, `"Annotations": {}`, `"NamesHistory": []`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := cli.PrintObjects(&out, "{{index .RepoTags 0}} {{.Os}} {{.Config.Healthcheck.Test}}", []Inspection{got}); err != nil {
		t.Error(err)
	}
}

func TestWriteRemoved(t *testing.T) {
	var out bytes.Buffer
	if err := writeRemoved(&out, img.Removed{Untagged: []string{"a:1", "b:1"}, Deleted: []string{"ff"}}); err != nil {
		t.Fatal(err)
	}
	if err := writeLoaded(&out, []img.Image{{ID: "ee", Names: []string{"c:1"}}, {ID: "dd"}}); err != nil {
		t.Fatal(err)
	}
	want := "Untagged: a:1\nUntagged: b:1\nDeleted: ff\nLoaded image: c:1\nLoaded image: sha256:dd\n"
	if out.String() != want {
		t.Errorf("got %q", out.String())
	}
}
