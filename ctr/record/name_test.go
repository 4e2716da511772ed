package record

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestNames(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	_, err := d.Create(t.Context(), Meta{ID: "b", Owner: OwnerCLI, Key: "web"}, conf{}, state{}, CreateOptions{Durable: true})
	wantErr(t, err, errdefs.ErrAlreadyExists)
	var taken *NameTakenError
	if !errors.As(err, &taken) || taken.Key != "web" || taken.ID != "a" {
		t.Errorf("%+v", taken)
	}
	for _, dir := range []string{d.RootDir("b"), d.RunDir("b"), d.l.statusPath("b")} {
		if exists(dir) {
			t.Errorf("the loser left %s", dir)
		}
	}
	op, err := d.Create(t.Context(), Meta{ID: "c", Owner: OwnerCRI, Key: "web"}, conf{}, state{}, CreateOptions{})
	must(t, err)
	must(t, op.End())

	other, err := Open[conf, state](Options{Paths: p, Kind: "containers"})
	must(t, err)
	create(t, other, "d", "web")
}

func TestDeadClaimIsTakenOver(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	path := d.l.claimPath(OwnerCLI, "web")
	for i, target := range []string{"gone", "../pods/gone", "half", "other"} {
		t.Run(target, func(t *testing.T) {
			must(t, os.Symlink(target, path))
			if target == "half" {
				must(t, os.Mkdir(d.RootDir("half"), 0o700))
				must(t, os.WriteFile(d.RootDir("half")+"/config.json", nil, 0o600))
				defer func() { sweep(t, d) }()
			}
			if target == "other" {
				create(t, d, "other", "db")
			}
			id := fmt.Sprint("a", i)
			create(t, d, id, "web")
			if got, err := d.Resolve(nil, "web"); err != nil || got != id {
				t.Errorf("%q, %v", got, err)
			}
			op, err := d.TryBegin(id, "rm")
			must(t, err)
			must(t, op.Remove(t.Context()))
			if exists(path) {
				t.Error("the claim is left")
			}
		})
	}
}

// TestOneWinner: of many who want a name one gets it, also when it is taken
// over from a dead one.
func TestOneWinner(t *testing.T) {
	p := memoryPaths(t)
	d := testDir(t, p)
	for round := range 300 {
		if round%10 != 0 {
			must(t, os.Symlink("gone", d.l.claimPath(OwnerCLI, "web")))
		}
		var won atomic.Pointer[Op]
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				id := fmt.Sprintf("r%d-%d", round, i)
				op, err := d.Create(t.Context(), Meta{ID: id, Owner: OwnerCLI, Key: "web"}, conf{}, state{}, CreateOptions{})
				switch {
				case err == nil && !won.CompareAndSwap(nil, op):
					t.Errorf("round %d: %s and %s won", round, won.Load().ID(), id)
				case err != nil && !errors.Is(err, errdefs.ErrAlreadyExists):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() == nil {
			t.Fatalf("round %d: nobody won", round)
		}
		must(t, won.Load().Remove(t.Context()))
		checkClean(t, p)
	}
}

func TestRename(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	create(t, d, "b", "db")
	wantErr(t, d.Rename(t.Context(), "a", "db"), errdefs.ErrAlreadyExists)
	wantErr(t, d.Rename(t.Context(), "a", ""), errdefs.ErrInvalidArgument)
	if e, err := d.Get("a"); err != nil || e.Key != "web" {
		t.Errorf("%+v, %v", e, err)
	}
	before, err := d.Get("a")
	must(t, err)
	for _, key := range []string{"www", "web", "web", "www"} {
		must(t, d.Rename(t.Context(), "a", key))
		e, err := d.Get("a")
		if err != nil || e.Key != key {
			t.Errorf("%+v, %v", e, err)
		}
		if id, err := d.Resolve(nil, key); err != nil || id != "a" {
			t.Errorf("%q: %q, %v", key, id, err)
		}
	}
	if e, err := d.Get("a"); err != nil || e.Number <= before.Number {
		t.Errorf("%+v, %v", e, err)
	}
	create(t, d, "c", "web")
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) { return s, nil })
	must(t, err)
	if e, err := d.Get("a"); err != nil || e.Key != "www" {
		t.Errorf("after an update: %+v, %v", e, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		op, err := d.TryBegin(id, "rm")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	checkClean(t, p)
}

// A rename that was cut short before it gave the old key up leaves nothing that
// does not agree, and is finished by the next one.
func TestRenameCutShort(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	must(t, d.Rename(t.Context(), "a", "db"))
	old := d.l.claimPath(OwnerCLI, "web")
	must(t, os.Symlink("a", old))
	if found, err := d.Check(Settlers{}); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	must(t, d.Rename(t.Context(), "a", "db"))
	if exists(old) {
		t.Error("the old key is still claimed")
	}
}

// TestRenameCutShortFreesTheName: what a rename had claimed when it was killed is
// nobody's name, and free for others; while it is under way it is not.
func TestRenameCutShortFreesTheName(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	must(t, d.Rename(t.Context(), "a", "www"))
	must(t, d.l.writeKey("a", keyFile{Key: "www", Also: []string{"web", "db"}}))
	for _, key := range []string{"web", "db"} {
		_ = os.Symlink("a", d.l.claimPath(OwnerCLI, key))
		_, err := d.Resolve(nil, key)
		wantErr(t, err, errdefs.ErrNotFound)
	}
	lock, err := d.l.lockStatus(t.Context(), "a")
	must(t, err)
	_, err = d.Create(t.Context(), Meta{ID: "b", Owner: OwnerCLI, Key: "db"}, conf{}, state{}, CreateOptions{})
	wantErr(t, err, errdefs.ErrAlreadyExists)
	lock.release()
	create(t, d, "b", "db")
	create(t, d, "c", "x")
	must(t, d.Rename(t.Context(), "c", "web"))
	for key, want := range map[string]string{"www": "a", "db": "b", "web": "c"} {
		if id, err := d.Resolve(nil, key); err != nil || id != want {
			t.Errorf("%q: %q, %v, want %q", key, id, err, want)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		op, err := d.TryBegin(id, "rm")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	checkClean(t, p)
}

// TestRenameBack: a claim that the object had given up, and gets again, is not the one
// that somebody is taking over.
func TestRenameBack(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "web")
	must(t, d.Rename(t.Context(), "a", "www"))
	must(t, os.Symlink("a", d.l.claimPath(OwnerCLI, "web"))) // its release was cut short
	lock, err := d.l.lockNames(t.Context(), "b")
	must(t, err)
	renamed := make(chan error)
	go func() { renamed <- d.Rename(t.Context(), "a", "web") }()
	for m, keys, err := d.l.readMeta("a"); m.Key != "web" && !slices.Contains(keys.Also, "web"); m, keys, err = d.l.readMeta("a") {
		must(t, err)
	}
	time.Sleep(20 * time.Millisecond)
	must(t, os.Remove(d.l.claimPath(OwnerCLI, "web"))) // it was dead when it was looked at
	lock.release()
	must(t, <-renamed)
	if id, err := d.Resolve(nil, "web"); err != nil || id != "a" {
		t.Errorf("%q, %v", id, err)
	}
}

func TestRenamesCompete(t *testing.T) {
	p := memoryPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "a")
	create(t, d, "b", "b")
	var wg sync.WaitGroup
	for i, id := range []string{"a", "b", "a", "b"} {
		wg.Go(func() {
			for n := range 20 {
				err := d.Rename(t.Context(), id, fmt.Sprint("n", (n+i)%3))
				if err != nil && !errors.Is(err, errdefs.ErrAlreadyExists) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list, err := d.List()
	must(t, err)
	for _, e := range list {
		if id, err := d.Resolve(nil, e.Key); err != nil || id != e.ID {
			t.Errorf("%q of %q: %q, %v", e.Key, e.ID, id, err)
		}
		op, err := d.TryBegin(e.ID, "rm")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	checkClean(t, p)
}

// TestLostNames: somebody lost the folder of names, and the machine rebooted.
func TestLostNames(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	must(t, os.RemoveAll(p.Root+"/names"))
	reboot(t, p)
	d = testDir(t, p)
	if list, err := d.List(); err != nil || len(list) != 1 || !list[0].Lost {
		t.Errorf("%+v, %v", list, err)
	}
	if dead, err := d.Dead(); err != nil || len(dead) > 0 {
		t.Errorf("%q, %v", dead, err)
	}
	if id, err := d.Resolve(nil, "web"); err != nil || id != "a" {
		t.Errorf("%q, %v", id, err)
	}
}

// TestLoser: two records have one key after a power loss; who has the claim
// stays.
func TestLoser(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	must(t, os.Remove(d.l.claimPath(OwnerCLI, "web")))
	create(t, d, "b", "web")
	reboot(t, p)
	list, err := d.List()
	wantErr(t, err, ErrCorrupt)
	if len(list) != 1 || list[0].ID != "b" {
		t.Errorf("%+v", list)
	}
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) { return s, nil })
	wantErr(t, err, errdefs.ErrNotFound)
	sweep(t, d)
	if exists(d.RootDir("a")) {
		t.Error("the loser is left")
	}
	if id, err := d.Resolve(nil, "web"); err != nil || id != "b" {
		t.Errorf("%q, %v", id, err)
	}
}
