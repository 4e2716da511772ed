package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestCreateIsRead(t *testing.T) {
	p := testPaths(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	d, err := Open[conf, state](Options{Paths: p, Kind: "containers", Now: func() time.Time { return now }})
	must(t, err)
	op, err := d.Create(t.Context(), Meta{ID: "a", Owner: OwnerCRI, Key: "k/ä"}, conf{Text: "x"}, state{N: 7}, CreateOptions{Stage: "one"})
	must(t, err)
	self, err := ProcessOf(os.Getpid())
	must(t, err)
	want := Entry[conf, state]{
		Meta:   Meta{ID: "a", Owner: OwnerCRI, Key: "k/ä", Created: now, MountNS: currentMountNS()},
		Config: conf{Text: "x"}, Status: state{N: 7}, Number: 1,
		Op: &Holder{Kind: KindCreate, Stage: "one", Pid: self.Pid, PidStart: self.Start, Since: now},
	}
	got, err := d.Get("a")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	must(t, CheckMountNS(got.Meta))
	got.MountNS = "1"
	wantErr(t, CheckMountNS(got.Meta), errdefs.ErrFailedPrecondition)
	must(t, op.End())
	must(t, op.End())
	wantErr(t, op.Advance(t.Context(), "late"), os.ErrClosed)
	list, err := d.List()
	must(t, err)
	want.Op = nil
	if diff := cmp.Diff([]Entry[conf, state]{want}, list); diff != "" {
		t.Error(diff)
	}
	for path, mode := range map[string]fs.FileMode{
		p.Root: 0o711, p.RunRoot: 0o711, d.RunDir("a"): 0o700, d.RootDir("a"): 0o700,
		d.RootDir("a") + "/config.json": 0o600, p.RunRoot + "/status/containers/a.json": 0o600, d.RunDir("a") + "/op": 0o600,
	} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, st.Mode(), err, mode)
		}
	}
}

func TestIDs(t *testing.T) {
	d := newDir(t)
	for _, id := range []string{"", ".", "..", "../x", "a/b", "a.b", "a\x00b", ".op", strings.Repeat("a", 129), "ä"} {
		_, err := d.Create(t.Context(), Meta{ID: id}, conf{}, state{}, CreateOptions{})
		wantErr(t, err, errdefs.ErrInvalidArgument)
		_, err = d.Get(id)
		wantErr(t, err, errdefs.ErrInvalidArgument)
		_, err = d.Update(t.Context(), id, nil)
		wantErr(t, err, errdefs.ErrInvalidArgument)
		_, err = d.TryBegin(id, "stop")
		wantErr(t, err, errdefs.ErrInvalidArgument)
		wantErr(t, d.PutFile(id, "x.json", 1, false), errdefs.ErrInvalidArgument)
	}
	create(t, d, "a", "")
	for _, name := range []string{"", "config.json", "key.json", ".x", "a/b", "..", "a\x00"} {
		wantErr(t, d.PutFile("a", name, 1, false), errdefs.ErrInvalidArgument)
		wantErr(t, d.GetFile("a", name, new(int)), errdefs.ErrInvalidArgument)
	}
	_, err := d.Create(t.Context(), Meta{ID: "a"}, conf{}, state{}, CreateOptions{})
	wantErr(t, err, errdefs.ErrAlreadyExists)
	if _, err := d.Get("a"); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"", "names", "status", "a/b"} {
		_, err := Open[conf, state](Options{Paths: Paths{Root: "/x", RunRoot: "/y"}, Kind: kind})
		wantErr(t, err, errdefs.ErrInvalidArgument)
	}
}

func TestAbsent(t *testing.T) {
	d := newDir(t)
	_, err := d.Get("a")
	wantErr(t, err, errdefs.ErrNotFound)
	_, err = d.Update(t.Context(), "a", nil)
	wantErr(t, err, errdefs.ErrNotFound)
	_, err = d.Begin(t.Context(), "a", "stop")
	wantErr(t, err, errdefs.ErrNotFound)
	wantErr(t, d.Rename(t.Context(), "a", "b"), errdefs.ErrNotFound)
	wantErr(t, d.PutFile("a", "x.json", 1, false), errdefs.ErrNotFound)
	wantErr(t, d.GetFile("a", "x.json", new(int)), errdefs.ErrNotFound)
	_, err = d.Resolve(nil, "a")
	wantErr(t, err, errdefs.ErrNotFound)
	_, err = d.Resolve(nil, "")
	wantErr(t, err, errdefs.ErrInvalidArgument)
	list, err := d.List()
	if err != nil || len(list) > 0 {
		t.Error(list, err)
	}
}

func TestFiles(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	for _, durable := range []bool{false, true} {
		must(t, d.PutFile("a", "settings.json", conf{Text: "new"}, durable))
		var c conf
		must(t, d.GetFile("a", "settings.json", &c))
		if c.Text != "new" {
			t.Error(c)
		}
	}
	path := d.RootDir("a") + "/settings.json"
	for text, want := range map[string]error{
		``: ErrCorrupt, `{`: ErrCorrupt, `{"value":{"text":"x"}}`: ErrCorrupt, `{"version":1,"value":3}`: ErrCorrupt,
		`{"version":2,"value":3}`: errdefs.ErrFailedPrecondition,
	} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		wantErr(t, d.GetFile("a", "settings.json", &conf{}), want)
	}
}

func TestUpdate(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "web")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := d.Update(t.Context(), "a", func(s state) (state, error) { s.N++; return s, nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e, err := d.Get("a")
	must(t, err)
	if e.Status.N != 401 || e.Number != 401 {
		t.Errorf("%d updates, number %d", e.Status.N, e.Number)
	}
	no := errors.New("no")
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) { return state{}, no })
	wantErr(t, err, no)
	if after, err := d.Get("a"); err != nil || after.Number != e.Number || after.Status != e.Status {
		t.Errorf("a refused update changed %+v to %+v, %v", e, after, err)
	}
}

func TestUpdateWaitsForItsContext(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	lock, err := lockDir(t.Context(), d.RunDir("a"))
	must(t, err)
	_, err = d.Update(soon(t, 30*time.Millisecond), "a", func(s state) (state, error) { return s, nil })
	wantErr(t, err, errdefs.ErrUnavailable)
	wantErr(t, err, context.DeadlineExceeded)
	lock.release()
	_, err = d.Update(soon(t, time.Second), "a", func(s state) (state, error) { return s, nil })
	must(t, err)
}

func TestUpdateOfARemovedObject(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "")
	lock, err := lockDir(t.Context(), d.RunDir("a"))
	must(t, err)
	done := make(chan error)
	go func() {
		_, err := d.Update(t.Context(), "a", func(s state) (state, error) { return s, nil })
		done <- err
	}()
	op, err := d.TryBegin("a", "remove")
	must(t, err)
	time.Sleep(5 * time.Millisecond) // the Update waits on the folder that goes
	must(t, d.l.remove(t.Context(), "a"))
	lock.release()
	op.Abandon()
	wantErr(t, <-done, errdefs.ErrNotFound)
	checkClean(t, p)
}

func TestLostAndDamaged(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	create(t, d, "b", "")
	must(t, d.Rename(t.Context(), "a", "db"))
	before, err := d.Get("a")
	must(t, err)

	status := p.RunRoot + "/status/pods/a.json"
	for _, text := range []string{"", "{", "\x00\x00", `{"number":1}`, `{"version":1,"status":"x"}`} {
		must(t, os.WriteFile(status, []byte(text), 0o600))
		e, err := d.Get("a")
		must(t, err)
		if !errors.Is(e.Damaged, ErrCorrupt) || e.Lost || e.Status != (state{}) || e.Number != 0 || e.Key != "db" {
			t.Errorf("%q: %+v", text, e)
		}
	}
	must(t, os.WriteFile(status, []byte(`{"version":2,"status":[]}`), 0o600))
	_, err = d.Get("a")
	wantErr(t, err, errdefs.ErrFailedPrecondition)
	if !strings.Contains(err.Error(), "version 2") || !strings.Contains(err.Error(), "versions up to 1") {
		t.Error(err)
	}
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) { return s, nil })
	wantErr(t, err, errdefs.ErrFailedPrecondition)

	reboot(t, p)
	list, err := d.List()
	must(t, err)
	for _, e := range list {
		if !e.Lost || e.Status != (state{}) || e.Config.Text != e.ID || e.MountNS != "" {
			t.Errorf("%+v", e)
		}
	}
	if list[0].Key != "db" || len(list) != 2 {
		t.Errorf("%+v", list)
	}
	if dead, err := d.Dead(); err != nil || len(dead) > 0 {
		t.Errorf("lost ones are dead: %q, %v", dead, err)
	}
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) {
		if s != (state{}) {
			t.Errorf("a lost status is %+v", s)
		}
		return state{N: 3}, nil
	})
	must(t, err)
	e, err := d.Get("a")
	must(t, err)
	if e.Lost || e.Status.N != 3 || e.Number <= before.Number || e.MountNS == "" || e.Key != "db" {
		t.Errorf("%+v", e)
	}
	op, err := d.TryBegin("b", "start")
	must(t, err)
	if e, err := d.Get("b"); err != nil || !e.Lost || e.Op == nil || e.Op.Kind != "start" {
		t.Errorf("%+v, %v", e, err)
	}
	must(t, op.Remove(t.Context()))
	op, err = d.TryBegin("a", "rm")
	must(t, err)
	must(t, op.Remove(t.Context()))
	checkClean(t, p)
}

func TestCorruptConfig(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	create(t, d, "b", "")
	path := d.RootDir("a") + "/config.json"
	for text, want := range map[string]error{
		"{": ErrCorrupt, "{}": ErrCorrupt, `{"version":1,"meta":{"id":"b"}}`: ErrCorrupt,
		`{"version":99}`: errdefs.ErrFailedPrecondition, `{"version":99,"meta":7}`: errdefs.ErrFailedPrecondition,
	} {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := d.Get("a")
		wantErr(t, err, want)
		list, err := d.List()
		if len(list) != 1 || list[0].ID != "b" || err == nil || !strings.Contains(err.Error(), `a`) {
			t.Errorf("%q: %v, %v", text, list, err)
		}
	}
	// An empty one is that of a power loss: it can be swept.
	must(t, os.WriteFile(path, nil, 0o600))
	_, err := d.Get("a")
	wantErr(t, err, errdefs.ErrNotFound)
	if list, err := d.List(); len(list) != 1 || err == nil {
		t.Error(list, err)
	}
	sweep(t, d)
	if list, err := d.List(); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	// Its claim is dead.
	create(t, d, "c", "web")
	for _, id := range []string{"b", "c"} {
		op, err := d.TryBegin(id, "rm")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	checkClean(t, p)
}

// Nothing is written that could not be read again, and what an older davit has
// written so can be found and removed.
func TestTooLarge(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	// What HTML would have escaped is no longer than other text.
	long := strings.Repeat("<&>", maxFile/3-1000)
	op, err := d.Create(t.Context(), Meta{ID: "long", Key: "long"}, conf{Text: long}, state{}, CreateOptions{})
	must(t, err)
	must(t, op.End())
	if e, err := d.Get("long"); err != nil || e.Config.Text != long {
		t.Errorf("%d bytes came back, %v", len(e.Config.Text), err)
	}
	_, err = d.Create(t.Context(), Meta{ID: "a", Key: "web"}, conf{Text: strings.Repeat("x", maxFile)}, state{}, CreateOptions{})
	wantErr(t, err, errdefs.ErrInvalidArgument)
	if exists(d.RootDir("a")) || exists(d.RunDir("a")) {
		t.Error("something was made of what is refused")
	}
	create(t, d, "a", "web")
	before, err := d.Get("a")
	must(t, err)
	_, err = d.Update(t.Context(), "a", func(state) (state, error) { return state{Text: strings.Repeat("x", maxFile)}, nil })
	wantErr(t, err, errdefs.ErrInvalidArgument)
	wantErr(t, d.PutFile("a", "x.json", conf{Text: strings.Repeat("x", maxFile)}, false), errdefs.ErrInvalidArgument)
	after, err := d.Get("a")
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}

	must(t, os.Truncate(p.RunRoot+"/status/pods/a.json", maxFile))
	if e, err := d.Get("a"); err != nil || !errors.Is(e.Damaged, ErrCorrupt) {
		t.Errorf("a status that is too large: %v, %v", e.Damaged, err)
	}
	must(t, os.Truncate(d.RootDir("a")+"/config.json", maxFile))
	_, err = d.Get("a")
	wantErr(t, err, ErrCorrupt)
	found, err := d.Check(Settlers{})
	must(t, err)
	if len(found) != 1 || found[0].Kind != "record" || found[0].Repair == "" {
		t.Errorf("found %+v", found)
	}
	for _, id := range []string{"a", "long"} {
		op, err = d.TryBegin(id, "rm")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	create(t, d, "c", "web") // the claim is dead
	op, err = d.TryBegin("c", "rm")
	must(t, err)
	must(t, op.Remove(t.Context()))
	checkClean(t, p)
}

func TestResolve(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "abc1", "web")
	create(t, d, "abc2", "abd")
	create(t, d, "abd", "")
	create(t, d, "ab", "")
	op, err := d.Create(t.Context(), Meta{ID: "f00", Owner: OwnerCRI, Key: "web"}, conf{}, state{}, CreateOptions{})
	must(t, err)
	must(t, op.End())
	cli, cri := []Owner{OwnerCLI}, []Owner{OwnerCRI}
	for _, tt := range []struct {
		owners    []Owner
		ref, want string
		wantErr   error
		ids       []string
	}{
		{ref: "abd", want: "abc2"}, // a key before an ID
		{ref: "ab", want: "ab"},    // an ID before a prefix
		{ref: "abc", wantErr: errdefs.ErrInvalidArgument, ids: []string{"abc1", "abc2"}},
		{ref: "web", wantErr: errdefs.ErrInvalidArgument, ids: []string{"abc1", "f00"}},
		{ref: "web", owners: cli, want: "abc1"},
		{ref: "web", owners: cri, want: "f00"},
		{ref: "f", want: "f00"},
		{ref: "f", owners: cli, wantErr: errdefs.ErrNotFound},
		{ref: "f00", owners: cli, wantErr: errdefs.ErrNotFound},
		{ref: "../pods/ab", wantErr: errdefs.ErrNotFound},
		{ref: "a*", wantErr: errdefs.ErrNotFound},
	} {
		got, err := d.Resolve(tt.owners, tt.ref)
		if got != tt.want || !errors.Is(err, tt.wantErr) {
			t.Errorf("%v %q: %q, %v", tt.owners, tt.ref, got, err)
		}
		var amb *AmbiguousError
		if errors.As(err, &amb) && !slices.Equal(amb.IDs, tt.ids) || tt.ids != nil && amb == nil {
			t.Errorf("%q: %v", tt.ref, err)
		}
	}
}

// An ID, or the beginning of one, is never taken for a key.
func TestResolveID(t *testing.T) {
	d := testDir(t, testPaths(t))
	for id, key := range map[string]string{"abc1": "web", "abc2": "abc1", "abd": "x"} {
		op, err := d.Create(t.Context(), Meta{ID: id, Owner: OwnerCRI, Key: key}, conf{}, state{}, CreateOptions{})
		must(t, err)
		must(t, op.End())
	}
	create(t, d, "abd0", "mine")
	for ref, want := range map[string]struct {
		id  string
		err error
	}{
		"abc1": {id: "abc1"}, "abc2": {id: "abc2"}, "abd": {id: "abd"}, "abd0": {err: errdefs.ErrNotFound}, "ab": {err: errdefs.ErrInvalidArgument},
		"abc": {err: errdefs.ErrInvalidArgument}, "web": {err: errdefs.ErrNotFound}, "x": {err: errdefs.ErrNotFound},
		"": {err: errdefs.ErrInvalidArgument}, "../abd": {err: errdefs.ErrNotFound},
	} {
		if got, err := d.ResolveID([]Owner{OwnerCRI}, ref); got != want.id || !errors.Is(err, want.err) {
			t.Errorf("%q: %q, %v", ref, got, err)
		}
	}
}

func TestSyncs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		key     string
		to      string // what it is renamed to
		durable bool
		want    []string
	}{
		{name: "durable", key: "web", durable: true, want: []string{"pods/a/config.json", "pods/a", "names/pods"}},
		{name: "no key", durable: true, want: []string{"pods/a/config.json", "pods/a"}},
		{name: "volatile", key: "web"},
		{name: "renamed", key: "web", to: "new", want: []string{"pods/a/key.json", "pods/a", "names/pods", "pods/a/key.json", "pods/a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testPaths(t)
			d := testDir(t, p)
			var got []string
			d.l.fsync = func(fd int) error {
				path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
				dir, name := filepath.Split(path)
				if draft, ok := strings.CutSuffix(name, draftSuffix); ok { // .NAME.RANDOM
					name = strings.Trim(strings.TrimSuffix(draft, filepath.Ext(draft)), ".")
				}
				rel, _ := filepath.Rel(p.Root, dir+name)
				got = append(got, rel)
				return err
			}
			op, err := d.Create(t.Context(), Meta{ID: "a", Key: tt.key}, conf{}, state{}, CreateOptions{Durable: tt.durable})
			must(t, err)
			must(t, op.End())
			if tt.to != "" {
				must(t, d.Rename(t.Context(), "a", tt.to))
			}
			op, err = d.TryBegin("a", "rm")
			must(t, err)
			must(t, op.Remove(t.Context()))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestF29FailedSync: what is written durably is not acknowledged when a sync of it
// fails, whichever that is, and whoever comes next undoes a creation.
func TestF29FailedSync(t *testing.T) {
	create := func(d *dir) error {
		op, err := d.Create(t.Context(), Meta{ID: "a", Key: "web"}, conf{}, state{}, CreateOptions{Durable: true})
		if err != nil {
			return err
		}
		return op.End()
	}
	for name, write := range map[string]func(d *dir) error{
		"create": create,
		"rename": func(d *dir) error { return d.Rename(t.Context(), "a", "new") },
		"file":   func(d *dir) error { return d.PutFile("a", "settings.json", 1, true) },
	} {
		t.Run(name, func(t *testing.T) {
			for fail, failed := 1, true; failed; fail++ {
				p := testPaths(t)
				d := testDir(t, p)
				if name != "create" {
					must(t, create(d))
				}
				n := 0
				d.l.fsync = func(int) error {
					if n++; n == fail {
						return unix.EIO
					}
					return nil
				}
				err := write(d)
				if failed = n >= fail; !failed {
					must(t, err)
					break
				}
				if !errors.Is(err, unix.EIO) {
					t.Errorf("sync %d fails: %v", fail, err)
				}
				if name == "create" {
					sweep(t, d)
					checkClean(t, p)
				}
			}
		})
	}
}

// reads counts the reading system calls of this process.
func reads(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	must(t, err)
	var rchar, wchar, syscr int
	if _, err := fmt.Sscanf(string(data), "rchar: %d\nwchar: %d\nsyscr: %d", &rchar, &wchar, &syscr); err != nil {
		t.Fatal(err)
	}
	return syscr
}

// TestListIsFast takes the best of as many runs as it needs, for others use the
// machine.
func TestListIsFast(t *testing.T) {
	d := testDir(t, memoryPaths(t))
	type big struct {
		Env    []string
		Labels map[string]string
	}
	b := big{Labels: map[string]string{}}
	for i := range 20 {
		b.Env = append(b.Env, fmt.Sprintf("VARIABLE_%d=the value of it, such as they are", i))
		b.Labels[fmt.Sprintf("org.example.label.%d", i)] = "value"
	}
	bd := &Dir[big, state]{reader[big, state]{l: d.l}}
	for i := range 100 {
		op, err := bd.Create(t.Context(), Meta{ID: fmt.Sprintf("id%03d", i), Key: fmt.Sprint(i)}, b, state{}, CreateOptions{})
		must(t, err)
		must(t, op.End())
	}
	before := reads(t)
	list, err := bd.List()
	if err != nil || len(list) != 100 {
		t.Fatal(len(list), err)
	}
	if n := reads(t) - before; n > 220 {
		t.Errorf("listing 100 records takes %d reads", n)
	}
	const budget = 5 * time.Millisecond
	best := time.Hour
	for begin := time.Now(); best > budget && time.Since(begin) < 10*time.Second; {
		start := time.Now()
		_, err := bd.List()
		must(t, err)
		best = min(best, time.Since(start))
	}
	data, _ := json.Marshal(b)
	t.Logf("100 records of %d bytes: %v", len(data), best)
	if best > budget {
		t.Errorf("listing 100 records takes %v", best)
	}
}

func TestProcess(t *testing.T) {
	self, err := ProcessOf(os.Getpid())
	if err != nil || self.Pid != os.Getpid() || self.Start == 0 {
		t.Fatal(self, err)
	}
	if !self.Is() || !self.Alive() {
		t.Error("this process is none")
	}
	for _, p := range []Process{{Pid: self.Pid, Start: self.Start + 1}, {}, {Pid: -1, Start: self.Start}} {
		if p.Is() || p.Alive() {
			t.Errorf("%v is a process", p)
		}
	}
	_, err = ProcessOf(1 << 30)
	wantErr(t, err, errdefs.ErrNotFound)

	attr := &os.ProcAttr{Files: []*os.File{nil, nil, nil}}
	proc, err := os.StartProcess("/bin/true", []string{"true (x) R"}, attr)
	must(t, err)
	child, err := ProcessOf(proc.Pid)
	must(t, err)
	for deadline := time.Now().Add(5 * time.Second); child.Alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a process that is not reaped counts as alive")
		}
	}
	if !child.Is() {
		t.Error("a process that is not reaped has no pid any more")
	}
	if reaped, err := ProcessReaped(proc.Pid); err != nil || reaped {
		t.Errorf("what never had a child has reaped one: %v, %v", reaped, err)
	}
	_, err = proc.Wait()
	must(t, err)
	if reaped, err := ProcessReaped(os.Getpid()); err != nil || !reaped {
		t.Errorf("this process has reaped no child: %v, %v", reaped, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"kind":"stop","stage":"x","pid":1,"pidStart":2,"since":"2026-01-02T03:04:05Z","prior":{"kind":"create"}}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte("{\"version\":1}\n\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var o opFile
		if decode("op", data, &o) != nil {
			return
		}
		again, err := encode(o)
		if err != nil {
			return // a time that RFC 3339 does not know
		}
		var o2 opFile
		must(t, decode("op", again, &o2))
		if diff := cmp.Diff(o, o2); diff != "" {
			t.Error(diff)
		}
	})
}

// TestListAllocates: what List takes of an object.
func TestListAllocates(t *testing.T) {
	d := newDir(t)
	at := func(n int) float64 {
		for i := range n {
			if id := fmt.Sprintf("n%d", i); absent(d, id) {
				create(t, d, id, "")
			}
		}
		return testing.AllocsPerRun(10, func() {
			if list, err := d.List(); err != nil || len(list) != n {
				t.Errorf("%d of %d listed, %v", len(list), n, err)
			}
		})
	}
	few := at(10)
	if each := (at(60) - few) / 50; each > 40 {
		t.Errorf("%.1f allocations an object, 40 at most", each)
	}
}

// TestKeptListCopiesNothing: one list of all that is kept in memory allocates as often
// for many objects as for few.
func TestKeptListCopiesNothing(t *testing.T) {
	d := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	must(t, d.Keep(ctx, nil))
	for i := range 60 {
		create(t, d, fmt.Sprintf("n%d", i), "")
	}
	if n := testing.AllocsPerRun(10, func() {
		if all, err := d.All(); err != nil || len(all) != 60 {
			t.Errorf("%d of 60 listed, %v", len(all), err)
		}
	}); n > 4 {
		t.Errorf("%.0f allocations, 4 at most", n)
	}
}

func absent(d *Dir[conf, state], id string) bool {
	_, err := d.Get(id)
	return errdefs.IsNotFound(err)
}
