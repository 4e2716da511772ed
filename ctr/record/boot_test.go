package record

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestEnsureBoot(t *testing.T) {
	base := t.TempDir()
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	p := Paths{Root: base + "/lib/davit", RunRoot: base + "/run/davit"}
	for range 2 {
		if did, err := EnsureBoot(p); did || err != nil {
			t.Fatal(did, err)
		}
	}
	for _, dir := range []string{p.Root, p.RunRoot} {
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o711 {
			t.Error(st.Mode(), err)
		}
	}
	d := testDir(t, p)
	create(t, d, "a", "web")
	canary := base + "/canary"
	must(t, os.Mkdir(canary, 0o700))
	must(t, os.WriteFile(canary+"/file", nil, 0o600))
	must(t, os.Symlink(canary, p.RunRoot+"/link"))
	must(t, os.MkdirAll(p.RunRoot+"/exits/deep/deeper", 0o700))

	reboot(t, p)
	if !exists(canary + "/file") {
		t.Error("a symlink was followed")
	}
	names, err := filepath.Glob(p.RunRoot + "/*")
	if want := []string{p.RunRoot + "/boot-id", p.RunRoot + "/unsettled"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("left in the run root: %q, %v", names, err)
	}
	if !exists(d.RootDir("a") + "/config.json") {
		t.Error("the durable root was emptied too")
	}
	if did, err := EnsureBoot(p); did || err != nil {
		t.Error(did, err)
	}
	_, err = EnsureBoot(Paths{Root: p.Root, RunRoot: "run"})
	wantErr(t, err, errdefs.ErrInvalidArgument)
}

func TestEnsureBootAdoptsFolders(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(run string) error
		want  bool
		left  []string
	}{
		{name: "foreign", setup: func(run string) error { return os.Mkdir(run+"/mine", 0o700) }, left: []string{"boot-id", "mine"}},
		{name: "records without a boot-id", want: true, left: []string{"boot-id", "unsettled"}, setup: func(run string) error {
			return os.MkdirAll(run+"/status/pods", 0o700)
		}},
		{name: "empty boot-id", want: true, left: []string{"boot-id", "unsettled"}, setup: func(run string) error {
			return os.WriteFile(run+"/boot-id", nil, 0o600)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Paths{Root: t.TempDir(), RunRoot: t.TempDir()}
			must(t, tt.setup(p.RunRoot))
			if did, err := EnsureBoot(p); did != tt.want || err != nil {
				t.Error(did, err)
			}
			entries, err := os.ReadDir(p.RunRoot)
			must(t, err)
			var left []string
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if diff := cmp.Diff(tt.left, left); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnsureBootOnce(t *testing.T) {
	p := memoryPaths(t)
	for range 20 {
		must(t, os.WriteFile(p.RunRoot+"/boot-id", []byte("another"), 0o600))
		must(t, os.MkdirAll(p.RunRoot+"/status/pods/x/y", 0o700))
		var did atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				rebooted, err := EnsureBoot(p)
				must(t, err)
				if rebooted {
					did.Add(1)
				}
				if exists(p.RunRoot + "/status/pods/x") {
					t.Error("not emptied")
				}
			})
		}
		wg.Wait()
		if did.Load() != 1 {
			t.Errorf("%d rebooted", did.Load())
		}
	}
}

func TestParseMounts(t *testing.T) {
	info := `24 1 0:22 / /run rw,nosuid - tmpfs tmpfs rw
25 24 0:22 / /run/davit rw - tmpfs tmpfs rw
26 25 0:4 net:[4026532281] /run/davit/pods/a/net rw - nsfs nsfs rw
27 25 0:23 / /run/davit/a\040b\134c rw shared:5 - tmpfs tmpfs rw
28 24 0:24 / /run/davit2/x rw - tmpfs tmpfs rw

short line
`
	want := []string{"/run/davit/pods/a/net", `/run/davit/a b\c`}
	if diff := cmp.Diff(want, parseMounts(info, "/run/davit")); diff != "" {
		t.Error(diff)
	}
}

// The first boot that a run root sees is told from the next by the records alone:
// most do not outlive a reboot.
func TestEnsureBootWithoutRunRoot(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	must(t, os.RemoveAll(p.RunRoot))
	if did, err := EnsureBoot(p); did || err != nil {
		t.Error("without records:", did, err)
	}
	create(t, d, "a", "web")
	must(t, os.RemoveAll(p.RunRoot))
	if did, err := EnsureBoot(p); !did || err != nil {
		t.Error("with a record:", did, err)
	}
	if did, err := EnsureBoot(p); did || err != nil {
		t.Error("again:", did, err)
	}
}

func TestF33SettleUntilItIsSettled(t *testing.T) {
	p := testPaths(t)
	calls := 0
	settle := func(result error) error {
		return Settle(p, func() error { calls++; return result })
	}
	must(t, settle(nil))
	if calls != 0 {
		t.Fatal("there was nothing to settle")
	}
	reboot(t, p)
	failed := errors.New("not yet")
	wantErr(t, settle(failed), failed)
	func() {
		defer func() { _ = recover() }() // the nearest thing to a death
		_ = Settle(p, func() error { calls++; panic("dead") })
	}()
	must(t, Settle(p, func() error {
		calls++
		return Settle(p, func() error { t.Error("two at once"); return nil })
	}))
	must(t, settle(nil))
	if calls != 3 {
		t.Errorf("settled %d times", calls)
	}
	reboot(t, p)
	must(t, settle(nil))
	if calls != 4 {
		t.Error("the next reboot was not settled")
	}
}
