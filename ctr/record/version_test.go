package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// oldState copies the state folders of testdata, as the first release wrote them,
// into roots of this boot.
func oldState(t *testing.T) Paths {
	t.Helper()
	p := testPaths(t)
	for from, to := range map[string]string{"root": p.Root, "run": p.RunRoot} {
		must(t, os.CopyFS(to, os.DirFS("testdata/v1/"+from)))
	}
	must(t, os.Mkdir(p.Root+"/names", 0o700))
	must(t, os.Mkdir(p.Root+"/names/pods", 0o700))
	// sha256 of "cli", a NUL and the key
	must(t, os.Symlink("aaaa", p.Root+"/names/pods/"+filepath.Base(newClaim(t, p, "renamed"))))
	return p
}

func newClaim(t *testing.T, p Paths, key string) string {
	t.Helper()
	l, err := newLayout(Options{Paths: p, Kind: "pods"})
	must(t, err)
	return l.claimPath(OwnerCLI, key)
}

// State of every kind of file that the first release wrote is read.
func TestF34StateOfAnOlderRelease(t *testing.T) {
	d := testDir(t, oldState(t))
	e, err := d.Get("aaaa")
	must(t, err)
	want := Entry[conf, state]{
		Meta: Meta{
			ID: "aaaa", Owner: OwnerCLI, Key: "renamed", MountNS: "4026531841",
			Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		},
		Config: conf{Text: "first"}, Status: state{N: 7}, Number: 3,
		Op: &Holder{Kind: "stop", Stage: "signalled", Pid: 1, PidStart: 2, Since: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	var extra struct{ Code int }
	must(t, d.GetFile("aaaa", "exit.json", &extra))
	if extra.Code != 7 {
		t.Errorf("extra file: %+v", extra)
	}
	op, err := d.TryBegin("aaaa", "remove")
	must(t, err)
	if prior, dead := op.Prior(); !dead || prior.Kind != "stop" {
		t.Errorf("the operation of then: %+v, %t", prior, dead)
	}
	must(t, op.Remove(t.Context()))
}

// State that a newer release wrote is refused in words, whichever file it is and
// whatever is in it, and stays as it is.
func TestF34StateOfANewerRelease(t *testing.T) {
	same := func(text string) string { return strings.Replace(text, `"version":1`, `"version":99`, 1) }
	other := func(string) string { return `{"version":99,"meta":7,"key":7,"status":7,"kind":7,"value":[7]}` }
	for file, newer := range map[string]func(string) string{
		"root/pods/aaaa/config.json": same, "root/pods/aaaa/config.json other": other,
		"root/pods/aaaa/key.json": same, "root/pods/aaaa/key.json other": other,
		"run/status/pods/aaaa.json": same, "run/status/pods/aaaa.json other": other,
		"run/pods/aaaa/op": same, "run/pods/aaaa/op other": other,
		"root/pods/aaaa/exit.json": same, "root/pods/aaaa/exit.json other": other,
	} {
		t.Run(file, func(t *testing.T) {
			file, _, _ := strings.Cut(file, " ")
			p := oldState(t)
			path := strings.NewReplacer("root/", p.Root+"/", "run/", p.RunRoot+"/").Replace(file)
			data, err := os.ReadFile(path)
			must(t, err)
			written := newer(string(data))
			must(t, os.WriteFile(path, []byte(written), 0o600))
			d := testDir(t, p)
			var extra struct{ Code int }
			_, err = d.Get("aaaa")
			if filepath.Base(file) == "exit.json" {
				err = d.GetFile("aaaa", "exit.json", &extra)
			}
			var version *VersionError
			if !errors.As(err, &version) || version.Have != 99 || !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "99") {
				t.Errorf("read: %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != written {
				t.Errorf("it was changed: %q, %v", after, err)
			}
		})
	}
}

// A clock that goes back, to 1970 at last, changes neither which status is the
// later one nor what is dead; the order of two records of the same instant is
// their IDs'.
func TestF35ClockGoesBack(t *testing.T) {
	p := testPaths(t)
	clock := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	d, err := Open[conf, state](Options{Paths: p, Kind: "pods", Now: func() time.Time {
		clock = clock.Add(-time.Hour)
		return clock
	}})
	must(t, err)
	create(t, d, "b", "first")
	clock = time.Unix(0, 0)
	create(t, d, "a", "second")
	must(t, d.Keep(t.Context(), nil))
	for n := 2; n < 5; n++ {
		_, err := d.Update(t.Context(), "b", func(s state) (state, error) { s.N = n; return s, nil })
		must(t, err)
		for _, read := range []func(string) (Entry[conf, state], error){d.Get, d.Kept} {
			if e, err := read("b"); err != nil || e.Status.N != n || e.Number != uint64(n) {
				t.Errorf("after update %d: %+v, %v", n, e, err)
			}
		}
	}
	op, err := d.TryBegin("b", "stop")
	must(t, err)
	op.Abandon()
	if dead, err := d.Dead(); err != nil || !cmp.Equal(dead, []string{"b"}) {
		t.Errorf("dead: %q, %v", dead, err)
	}
	must(t, d.Rename(t.Context(), "a", "third"))
	if id, err := d.Lookup(OwnerCLI, "third"); err != nil || id != "a" {
		t.Error(id, err)
	}
}
