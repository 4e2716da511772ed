//go:build rootful

package record

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// powerRig is a durable root on a disk that loses power.
type powerRig struct {
	t    *testing.T
	p    Paths
	disk *harness.Disk
}

func newPowerRig(t *testing.T) *powerRig {
	t.Helper()
	base := t.TempDir()
	r := &powerRig{t: t, p: Paths{Root: base + "/root", RunRoot: base + "/run"}}
	must(t, os.Mkdir(r.p.Root, 0o700))
	var err error
	r.disk, err = harness.NewDisk(t.Context(), base+"/disk", r.p.Root, 16)
	if err != nil {
		t.Skipf("no loop device: %v", err)
	}
	t.Cleanup(func() { must(t, r.disk.Close()) })
	_, err = EnsureBoot(r.p)
	must(t, err)
	return r
}

// lose cuts the power, unless that is done, and boots.
func (r *powerRig) lose() *dir {
	r.t.Helper()
	must(r.t, r.disk.CutPower())
	must(r.t, r.disk.PowerOn(r.t.Context()))
	reboot(r.t, r.p)
	return testDir(r.t, r.p)
}

// cutAtSync has a Dir lose power at its n-th sync, before or after the disk does
// it; the sync then fails, as all that follows.
func (r *powerRig) cutAtSync(d *dir, n int, after bool) {
	d.l.fsync = func(fd int) error {
		n--
		if n > 0 {
			return fsync(fd)
		}
		if n == 0 && after {
			must(r.t, fsync(fd))
		}
		if n == 0 {
			must(r.t, r.disk.CutPower())
		}
		return unix.EIO
	}
}

// commit has the journal written, as any other program's sync does: what was
// renamed is on the disk then, and perhaps not what is in it.
func (r *powerRig) commit() {
	r.t.Helper()
	f, err := os.Create(r.p.Root + "/other")
	must(r.t, err)
	must(r.t, f.Sync())
	must(r.t, f.Close())
}

// TestF31PowerLoss: what Create acknowledged is there after a power loss; what it
// did not, is whole, or is swept.
func TestF31PowerLoss(t *testing.T) {
	for _, key := range []string{"web", ""} {
		t.Run("key "+key, func(t *testing.T) {
			r := newPowerRig(t)
			d := testDir(t, r.p)
			for round := range 5 {
				id := "a" + strconv.Itoa(round)
				m := Meta{ID: id, Owner: OwnerCLI}
				if key != "" {
					m.Key = key + id
				}
				op, err := d.Create(t.Context(), m, conf{Text: id}, state{}, CreateOptions{Durable: true})
				must(t, err)
				must(t, op.End())
				create(t, d, "b"+strconv.Itoa(round), "volatile"+strconv.Itoa(round))
				d = r.lose()
				for i := range round + 1 {
					id := "a" + strconv.Itoa(i)
					e, err := d.Get(id)
					if err != nil || e.Config.Text != id || !e.Lost {
						t.Fatalf("round %d: %+v, %v", round, e, err)
					}
					if got, err := d.Resolve(nil, id); err != nil || got != id {
						t.Errorf("%q, %v", got, err)
					}
					if key == "" {
						continue
					}
					if got, err := d.Resolve(nil, key+id); err != nil || got != id {
						t.Errorf("%q, %v", got, err)
					}
				}
				sweep(t, d)
			}
		})
	}
}

// powerWrite is one way to write to a record, and how what is there is read.
type powerWrite struct {
	name    string
	durable bool
	old     string // what set leaves
	damage  bool   // it may be known to be damaged: that it was written is what it says
	set     func(t *testing.T, d *dir)
	write   func(t *testing.T, d *dir) error // of "new"
	read    func(t *testing.T, d *dir) string
}

func powerWrites() []powerWrite {
	get := func(name string) func(t *testing.T, d *dir) string {
		return func(t *testing.T, d *dir) string {
			t.Helper()
			var have string
			err := d.GetFile("a", name, &have)
			if errdefs.IsNotFound(err) {
				return "none"
			}
			if errors.Is(err, ErrCorrupt) {
				return "damaged"
			}
			if err != nil {
				return err.Error()
			}
			return have
		}
	}
	put := func(name, text string, durable bool) func(*testing.T, *dir) error {
		return func(_ *testing.T, d *dir) error { return d.PutFile("a", name, text, durable) }
	}
	made := func(t *testing.T, d *dir) {
		t.Helper()
		op, err := d.Create(t.Context(), Meta{ID: "a", Owner: OwnerCLI, Key: "old"}, conf{}, state{}, CreateOptions{Durable: true})
		must(t, err)
		must(t, op.End())
	}
	madeWith := func(name string) func(t *testing.T, d *dir) {
		return func(t *testing.T, d *dir) {
			made(t, d)
			must(t, put(name, "old", true)(t, d))
		}
	}
	return []powerWrite{
		{name: "create", durable: true, old: "none", set: func(*testing.T, *dir) {}, write: func(t *testing.T, d *dir) error {
			op, err := d.Create(t.Context(), Meta{ID: "a", Owner: OwnerCLI, Key: "new"}, conf{Text: "new"}, state{}, CreateOptions{Durable: true})
			if err != nil {
				return err
			}
			return op.End()
		}, read: func(t *testing.T, d *dir) string {
			sweep(t, d)
			e, err := d.Get("a")
			if errdefs.IsNotFound(err) {
				return "none"
			}
			if id, rerr := d.Resolve(nil, "new"); err != nil || rerr != nil || id != "a" {
				return errors.Join(err, rerr).Error()
			}
			return e.Config.Text
		}},
		{name: "rename", durable: true, old: "old", set: made, write: func(t *testing.T, d *dir) error {
			return d.Rename(t.Context(), "a", "new")
		}, read: func(t *testing.T, d *dir) string {
			e, err := d.Get("a")
			if err != nil {
				return err.Error()
			}
			if id, err := d.Resolve(nil, e.Key); err != nil || id != "a" {
				return "the name does not lead to it: " + e.Key
			}
			if e.Key == "new" { // the old one is free, though its release was not synced
				sweep(t, d)
				if exists(d.l.claimPath(OwnerCLI, "old")) {
					return "its old name is claimed"
				}
				create(t, d, "b", "old")
				op, err := d.Begin(t.Context(), "b", "rm")
				must(t, err)
				must(t, op.Remove(t.Context()))
			}
			return e.Key
		}},
		{name: "settings.json", durable: true, old: "old", set: madeWith("settings.json"), write: put("settings.json", "new", true), read: get("settings.json")},
		{name: "settings.json, the first", durable: true, old: "none", set: made, write: put("settings.json", "new", true), read: get("settings.json")},
		{name: "exit.json", old: "old", set: madeWith("exit.json"), write: put("exit.json", "new", false), read: get("exit.json")},
		{name: "exit.json, the first", old: "none", damage: true, set: made, write: put("exit.json", "new", false), read: get("exit.json")},
	}
}

// TestF31OldOrNew: a power loss at every sync of a write, before it and after it,
// and after the write, leaves the old content or the new; the new, if the write was
// acknowledged and is a durable one.
func TestF31OldOrNew(t *testing.T) {
	for _, w := range powerWrites() {
		t.Run(w.name, func(t *testing.T) {
			r := newPowerRig(t)
			over := false
			for n := 1; !over; n++ {
				for _, after := range []bool{false, true} {
					d := testDir(t, r.p)
					w.set(t, d)
					r.cutAtSync(d, n, after)
					err := w.write(t, d)
					over = err == nil
					if over && after {
						r.commit()
					}
					r.check(w, err, n)
				}
			}
		})
	}
}

func (r *powerRig) check(w powerWrite, err error, n int) {
	r.t.Helper()
	d := r.lose()
	have := w.read(r.t, d)
	if !slices.Contains([]string{w.old, "new"}, have) && !(w.damage && have == "damaged") {
		r.t.Fatalf("power lost at sync %d: %q", n, have)
	}
	if err == nil && w.durable && have != "new" {
		r.t.Fatalf("it was acknowledged, and there is %q", have)
	}
	if op, err := d.Begin(r.t.Context(), "a", "rm"); err == nil {
		must(r.t, op.Remove(r.t.Context()))
	} else if !errdefs.IsNotFound(err) {
		r.t.Fatal(err)
	}
	for _, name := range []string{"old", "new"} {
		if _, err := d.Resolve(nil, name); !errdefs.IsNotFound(err) {
			r.t.Fatalf("the name %q is not free: %v", name, err)
		}
	}
}
