package record

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// keep has a Dir kept, for the test's length.
func keep(t *testing.T, d *dir, changed func(string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	must(t, d.Keep(ctx, changed))
}

func TestKeepReadsNoFiles(t *testing.T) {
	d := testDir(t, memoryPaths(t))
	for i := range 110 {
		create(t, d, fmt.Sprintf("id%03d", i), fmt.Sprint("k", i))
	}
	want, err := d.List()
	must(t, err)
	keep(t, d, nil)
	before := reads(t)
	got, err := d.List()
	must(t, err)
	// Reading the counter is a read, and so is another goroutine's of the watch.
	if n := reads(t) - before; n > 5 {
		t.Errorf("a list of %d objects took %d reads", len(got), n)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// A list is made of one copy of each object, and of pointers to them.
	const lists = 20
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	for range lists {
		if _, err := d.List(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&end)
	entry := uint64(unsafe.Sizeof(got[0]))
	if n := (end.TotalAlloc - start.TotalAlloc) / lists; n > uint64(len(got))*(entry+entry/4+16) {
		t.Errorf("a list of %d objects of %d bytes allocates %d bytes", len(got), entry, n)
	}
}

// TestKeepIsCoherent: two other processes change what this one has in memory,
// while it changes it too.
func TestKeepIsCoherent(t *testing.T) {
	p := memoryPaths(t)
	d, disk := testDir(t, p), testDir(t, p)
	create(t, d, counterID, "")
	create(t, d, "renamed", "one")
	keep(t, d, nil)
	var others []*exec.Cmd
	for i := range 2 {
		cmd := exec.Command(os.Args[0], p.Root, p.RunRoot, fmt.Sprint("w", i))
		cmd.Env = append(os.Environ(), roleEnv+"=worker")
		must(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		others = append(others, cmd)
	}
	end := time.Now().Add(1500 * time.Millisecond)
	for i := 0; time.Now().Before(end); i++ {
		ownWritesAreSeen(t, d, fmt.Sprint("own", i))
		if i%10 == 0 {
			must(t, d.Rename(t.Context(), "renamed", fmt.Sprint("name", i)))
			if e := find(t, d, "renamed"); e == nil || e.Key != fmt.Sprint("name", i) {
				t.Fatalf("after a rename: %+v", e)
			}
		}
	}
	for _, cmd := range others {
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	// A removal that was cut off is listed until somebody finishes it.
	dead, err := disk.Dead()
	must(t, err)
	for _, id := range dead {
		op, err := disk.Begin(t.Context(), id, "remove")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	agree(t, d, disk)
}

func find(t *testing.T, d *dir, id string) *Entry[conf, state] {
	t.Helper()
	list, _ := d.List() // what the others are about may not be whole
	for _, e := range list {
		if e.ID == id {
			return &e
		}
	}
	return nil
}

func ownWritesAreSeen(t *testing.T, d *dir, id string) {
	t.Helper()
	op, err := d.Create(t.Context(), Meta{ID: id, Owner: OwnerCLI}, conf{Text: id}, state{N: 1}, CreateOptions{})
	must(t, err)
	if e := find(t, d, id); e == nil || e.Status.N != 1 || e.Config.Text != id {
		t.Fatalf("after creating: %+v", e)
	}
	for n := 2; n < 5; n++ {
		_, err := d.Update(t.Context(), id, func(s state) (state, error) { s.N = n; return s, nil })
		must(t, err)
		if e := find(t, d, id); e == nil || e.Status.N != n {
			t.Fatalf("after update %d: %+v", n, e)
		}
	}
	must(t, op.Remove(t.Context()))
	if e := find(t, d, id); e != nil {
		t.Fatalf("after removing: %+v", e)
	}
}

// agree waits until memory has what is on disk.
func agree(t *testing.T, d, disk *dir) {
	t.Helper()
	end := time.Now().Add(5 * time.Second)
	for {
		want, _ := disk.List()
		for i := range want {
			want[i].Op = nil
		}
		got, _ := d.List()
		// A worker may have been killed in a rename, of which nothing tells.
		diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Key" }, cmp.Ignore()))
		if diff == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(diff)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestKeepTellsOfChanges: of this process's at once, of another's by the watch.
func TestKeepTellsOfChanges(t *testing.T) {
	p := testPaths(t)
	d, other := testDir(t, p), testDir(t, p)
	told := make(chan string, 100)
	keep(t, d, func(id string) { told <- id })
	create(t, d, "a", "")
	if len(told) == 0 {
		t.Error("not told of an object that was created here")
	}
	create(t, other, "b", "")
	for id := range told {
		if id == "b" {
			break
		}
	}
	if e, err := d.Kept("b"); err != nil || e.Config.Text != "b" {
		t.Errorf("%+v, %v", e, err)
	}
	op, err := other.TryBegin("b", "rm")
	must(t, err)
	must(t, op.Remove(t.Context()))
	for id := range told {
		if _, err := d.Kept("b"); id == "b" && err != nil {
			break
		}
	}
}

// TestKeepRescans: after an overflow, memory is what is on disk, whatever the
// watch has missed; a reboot's loss is seen at the next list.
func TestKeepRescans(t *testing.T) {
	p := testPaths(t)
	d, disk := testDir(t, p), testDir(t, p)
	create(t, d, "a", "")
	create(t, d, "b", "")
	keep(t, d, nil)
	k := d.kept.Load()
	k.mu.Lock()
	delete(k.slots, "a")
	s := *k.slots["b"]
	s.entry.Status.N = 77
	k.slots["b"], k.slots["c"] = &s, &s
	k.mu.Unlock()
	k.event(Event{Overflow: true})
	agree(t, d, disk)
	reboot(t, p)
	agree(t, d, disk)
	if e := find(t, d, "a"); e == nil || !e.Lost {
		t.Errorf("after a reboot: %+v", e)
	}
	_, err := d.Update(t.Context(), "a", func(state) (state, error) { return state{N: 5}, nil })
	must(t, err)
	if e := find(t, d, "a"); e == nil || e.Status.N != 5 {
		t.Errorf("after an update: %+v", e)
	}
}

func TestKeepEnds(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	ctx, stop := context.WithCancel(t.Context())
	must(t, d.Keep(ctx, nil))
	must(t, d.Keep(ctx, nil))
	stop()
	for d.kept.Load() != nil {
		time.Sleep(time.Millisecond)
	}
	must(t, os.RemoveAll(d.RootDir("a")))
	if list, err := d.List(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestKeepForgets: nothing is kept of what was removed here, whether the event of
// that comes after it is said or before, and whoever reads it at the time.
func TestKeepForgets(t *testing.T) {
	d := newDir(t)
	k := newKept(&d.reader, func(string) {})
	for i, remove := range []func(op *Op, id string){
		func(op *Op, id string) { must(t, op.Remove(t.Context())); k.remove(id); k.refresh(id) },
		func(op *Op, id string) { must(t, op.Remove(t.Context())); k.refresh(id); k.remove(id) },
		func(op *Op, id string) {
			since := k.begin(id)
			found := k.read(id)
			must(t, found.err)
			must(t, op.Remove(t.Context()))
			k.remove(id)
			k.put(id, found, since)
		},
		func(op *Op, id string) {
			since := k.begin(id)
			found := k.read(id)
			must(t, op.Remove(t.Context()))
			k.remove(id)
			must(t, k.rescan())
			k.put(id, found, since)
		},
	} {
		id := fmt.Sprint("id", i)
		create(t, d, id, "")
		k.made(id)
		if s, ok := k.slot(id); !ok || s.err != nil {
			t.Fatalf("%d: made, and not kept: %+v", i, s)
		}
		op, err := d.Begin(t.Context(), id, "remove")
		must(t, err)
		remove(op, id)
		if len(k.slots) > 0 || len(k.reads) > 0 {
			t.Errorf("%d: left: %v, %v", i, k.slots, k.reads)
		}
	}
}
