package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDifferenceCountsRepeatedLines(t *testing.T) {
	added, gone := difference([]string{"a", "b", "b", "c"}, []string{"b", "c", "c", "d"})
	if want := []string{"c", "d"}; !cmp.Equal(added, want) {
		t.Errorf("added %v, want %v", added, want)
	}
	if want := []string{"a", "b"}; !cmp.Equal(gone, want) {
		t.Errorf("gone %v, want %v", gone, want)
	}
}

func TestOwnerlessLayers(t *testing.T) {
	roots := newRoots(t)
	forgotten := strings.Repeat("f", 64)
	files := map[string]string{
		"root/storage/overlay-images/images.json":                     `[{"id":"i","layer":"top"}]`,
		"root/storage/overlay-layers/layers.json":                     `[{"id":"base"},{"id":"top","parent":"base"},{"id":"rw","parent":"top"},{"id":"lost","parent":"base"}]`,
		"root/storage/overlay-containers/containers.json":             `[{"id":"c","layer":"rw"}]`,
		"root/storage/overlay-containers/volatile-containers.json":    `[{"id":"unknown","layer":"rw"}]`,
		"root/storage/overlay/base/link":                              "",
		"root/storage/overlay/top/link":                               "",
		"root/storage/overlay/rw/link":                                "",
		"root/storage/overlay/" + forgotten + "/link":                 "",
		"root/storage/overlay/metacopy-check42/upper":                 "",
		"root/storage/overlay/l/XYZ":                                  "",
		"root/containers/c/config.json":                               "{}",
		"run/storage/overlay-layers/mountpoints.json":                 "[]",
		"root/storage/overlay-layers/volatile-layers.json":            "",
		"root/storage/overlay-containers/c/userdata/.unrelated-state": "",
	}
	for path, text := range files {
		writeFile(t, filepath.Join(roots.Dir, path), text)
	}
	got, err := ownerlessLayers(roots)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"container unknown of the layer store has no record",
		"folder overlay/" + forgotten + " has no layer",
		"layer lost has neither image nor container",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRunFilesLeaveOutWhatStays(t *testing.T) {
	roots := newRoots(t)
	for _, f := range []string{"boot-id", "pull/abc.lock", "storage/x", "containers/1/op", "networks/davit/last_reserved_ip.0"} {
		writeFile(t, filepath.Join(roots.RunRoot, f), "")
	}
	want := []string{filepath.Join(roots.RunRoot, "containers/1/op")}
	if diff := cmp.Diff(want, runFileLines(roots)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAnotherDavitMakesIsLeftOut(t *testing.T) {
	roots := newRoots(t)
	own := "/sys/fs/cgroup/pids/davit-" + roots.NetworkTag() + "/x"
	mine := "tmpfs at " + roots.RunRoot + "/shm (/)"
	s := Snapshot{lines: map[Kind][]string{
		Cgroups: {own, "/sys/fs/cgroup/pids/davit-000000/x", "/sys/fs/cgroup/pids/davit/x"},
		Mounts:  {mine, "tmpfs at " + os.TempDir() + "/elsewhere (/)", "proc at /proc (/)"},
	}}
	s.dropOthers([]Roots{roots})
	if diff := cmp.Diff([]string{mine, "proc at /proc (/)"}, s.lines[Mounts]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{own, "/sys/fs/cgroup/pids/davit/x"}, s.lines[Cgroups]); diff != "" {
		t.Error(diff)
	}
}

func TestEngineName(t *testing.T) {
	for name, want := range map[string]bool{"conmon": true, "runc:[2:INIT]": true, "runc": true, "davit": true, "sh": false, "davit-demo": false} {
		if engineName(name) != want {
			t.Errorf("engineName(%q) = %v", name, !want)
		}
	}
}

func TestCompactDropsCounters(t *testing.T) {
	rule := map[string]any{"handle": 3.0, "expr": []any{map[string]any{"counter": map[string]any{"packets": 1.0, "bytes": 2.0}}}}
	if got, want := compact(rule), `{"expr":[{"counter":{}}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDiffReadsAsText(t *testing.T) {
	before := Snapshot{lines: map[Kind][]string{Links: {"lo", "eth0"}}}
	after := Snapshot{lines: map[Kind][]string{Links: {"lo", "veth1"}}}
	want := "left over: link veth1\nwas there: link eth0\n"
	if got := before.Diff(after).String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func newRoots(t *testing.T) Roots {
	t.Helper()
	roots, err := NewRoots(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBusyboxImageIsTheSameEachTime(t *testing.T) {
	script := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho sh; echo httpd\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for range 2 {
		img, err := Busybox(t.Context(), ImageConfig{Busybox: script, Layers: 2})
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
		if layers, _ := img.Layers(); len(layers) != 3 {
			t.Errorf("%d layers, want 3", len(layers))
		}
	}
	if digests[0] != digests[1] || !strings.HasPrefix(digests[0], "sha256:") {
		t.Errorf("digests %v", digests)
	}
}
