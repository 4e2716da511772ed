package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Settlers mend what Check finds and the files of records cannot tell how.
type Settlers struct {
	// Settle finishes or undoes the operation that a dead owner left on an object.
	Settle func(ctx context.Context, id string) error
	// Discard removes an object whose configuration cannot be read, with what the
	// machine has of its ID.
	Discard func(ctx context.Context, id string) error
	// Revive writes a new status for an object whose status cannot be read, of what
	// there is on the machine.
	Revive func(ctx context.Context, id string) error
}

// Check finds what does not agree among the files of the records: operations
// whose owner has died, records that are not whole or cannot be read, run folders
// and statuses of no record, claims of nobody and keys that are not claimed. It
// changes nothing, and takes no lock that others wait for but for an instant.
func (d *Dir[C, S]) Check(s Settlers) ([]Finding, error) {
	c := checker{sweeper: sweeper{d.l}, settlers: s}
	kept, err := c.ids()
	errs := []error{err}
	running, err := listIDs(c.run)
	errs = append(errs, err, c.statuses(), c.claimed())
	slices.Sort(kept)
	slices.Sort(running)
	for _, id := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(kept, running)))) {
		_, record := slices.BinarySearch(kept, id)
		c.object(id, record)
	}
	for _, id := range kept {
		if e, err := d.Get(id); err == nil && e.Damaged != nil {
			f := Finding{Kind: "status", Problem: "it cannot be read: " + e.Damaged.Error(), Repair: "write a new one, of what there is"}
			c.found(id, f, s.Revive)
		} else if errors.Is(err, ErrCorrupt) {
			c.unreadable(id, err)
		}
	}
	if len(c.orphans) > 0 {
		c.folders()
	}
	return c.list, errors.Join(errs...)
}

// Unread is the error of a list without that of records that are damaged: these are
// findings, of Check's.
func Unread(err error) error {
	if errors.Is(err, ErrCorrupt) {
		return nil
	}
	return err
}

// checker is one run of Check.
type checker struct {
	sweeper
	settlers Settlers
	list     []Finding
	orphans  []string
}

// found adds a finding about an object, that mend mends.
func (c *checker) found(id string, f Finding, mend func(context.Context, string) error) {
	f.Object = c.noun() + " " + id
	f.Mend = func(ctx context.Context) error { return mend(ctx, id) }
	c.list = append(c.list, f)
}

// object looks at one ID of which there is a record or a run folder.
func (c *checker) object(id string, record bool) {
	written := c.opWritten(id)
	switch {
	case written && c.abandoned(id):
		op, err := c.readOp(id)
		if err != nil || op == nil {
			return // settled meanwhile, or of a newer davit
		}
		h := op.Holder
		if op.Prior != nil {
			h = *op.Prior
		}
		repair := "finish it"
		if h.Kind == KindCreate || h.Kind == "start" {
			repair = "undo it"
		}
		c.found(id, Finding{Kind: "operation", Problem: h.String() + " was cut short", Repair: repair}, c.settlers.Settle)
	case written:
	case record && c.stray(id):
		c.found(id, Finding{Kind: "record", Problem: "it is not whole, as after a loss of power", Repair: "remove what is left of it"}, c.settlers.Settle)
	case record:
		c.unclaimed(id)
	default:
		c.orphans = append(c.orphans, id)
	}
}

// String says which operation it is, for messages.
func (h Holder) String() string {
	var b strings.Builder
	b.WriteString(h.Kind)
	if h.Stage != "" {
		fmt.Fprintf(&b, " (%s)", h.Stage)
	}
	if h.Pid != 0 {
		fmt.Fprintf(&b, " by process %d", h.Pid)
	}
	return b.String()
}

// unclaimed looks for a record whose key is not claimed, or claimed for another.
func (c *checker) unclaimed(id string) {
	m, _, err := c.readMeta(id)
	if err != nil || m.Key == "" || c.owns(m, m.Key) {
		return
	}
	again, _, err := c.readMeta(id)
	if err != nil || again.Key != m.Key || c.owns(m, m.Key) || c.opWritten(id) {
		return // somebody was at work on it
	}
	f := Finding{
		Kind: "name", Object: fmt.Sprintf("%s %s, name %q", c.noun(), id, m.Key),
		Problem: "the name is not claimed for it", Repair: "claim it", Mend: func(ctx context.Context) error { return c.reclaimed(ctx, id) },
	}
	if holder, err := c.claimHolder(m.Owner, m.Key); err == nil && holder != "" {
		f.Problem, f.Repair, f.Mend = "the name is claimed for "+holder, "rename one of them", nil
	}
	c.list = append(c.list, f)
}

// reclaimed claims the key of an object for it.
func (c *checker) reclaimed(ctx context.Context, id string) error {
	lock, err := c.lockStatus(ctx, id)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.release()
	m, _, err := c.readMeta(id)
	if err != nil || m.Key == "" {
		return err
	}
	return c.claim(ctx, m)
}

// unreadable tells of a record whose configuration is there and cannot be read.
func (c *checker) unreadable(id string, err error) {
	if !exists(c.configPath(id)) || c.opWritten(id) {
		return
	}
	f := Finding{Kind: "record", Problem: "it cannot be read: " + err.Error(), Repair: "remove it and all that carries its ID", Loses: true}
	c.found(id, f, c.settlers.Discard)
}

// folders tells of run folders that have neither a record nor an operation. While
// nobody is about to make one, which is known by a lock, they are nobody's.
func (c *checker) folders() {
	window, err := open(c.run, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer unlock(window)
	if waitLock(ended{}, window, unix.LOCK_EX, "") != nil {
		return // somebody is: another time
	}
	for _, id := range c.orphans {
		if exists(c.rootDir(id)) || c.opWritten(id) || !exists(c.runDir(id)) {
			continue
		}
		f := Finding{Kind: "run folder", Problem: "there is no such " + c.noun(), Repair: "remove it"}
		c.found(id, f, func(_ context.Context, id string) error {
			c.sweep(ended{}, id)
			if exists(c.runDir(id)) && !exists(c.rootDir(id)) {
				return fmt.Errorf("removing %s: %w", c.runDir(id), errBusyFolder)
			}
			return nil
		})
	}
}

var errBusyFolder = errors.New("something is mounted there, or somebody is at work")

// statuses tells of statuses, and drafts of them, that no object has.
func (c *checker) statuses() error {
	entries, err := os.ReadDir(c.status)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		id := strings.TrimSuffix(e.Name(), jsonSuffix)
		if strings.HasPrefix(id, ".") {
			id = strings.TrimSuffix(id[1:], draftSuffix)
		}
		path := c.status + "/" + e.Name()
		orphan := func() bool { return !exists(c.rootDir(id)) && !c.opWritten(id) && exists(path) }
		if !validID(id) || !orphan() {
			continue
		}
		c.list = append(c.list, Finding{
			Kind: "status", Object: path, Problem: "there is no such " + c.noun(), Repair: "remove it",
			Mend: func(context.Context) error {
				if orphan() {
					return removeFile(path)
				}
				return nil
			},
		})
	}
	return err
}

// claimed tells of claims that point to nothing, or to an object of another key.
func (c *checker) claimed() error {
	entries, err := os.ReadDir(c.names)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		path := c.names + "/" + e.Name()
		id, lerr := os.Readlink(path)
		if lerr != nil || c.claims.has(id, path) {
			continue
		}
		if again, lerr := os.Readlink(path); lerr != nil || again != id || c.opWritten(id) {
			continue // it was released
		}
		c.list = append(c.list, Finding{
			Kind: "name", Object: path, Problem: fmt.Sprintf("it is claimed for %s %s, which is not there or has another name", c.noun(), id),
			Repair: "give it up", Mend: func(ctx context.Context) error { return c.giveUp(ctx, id, path) },
		})
	}
	return err
}

// has tells whether an object has a key whose claim is at path, or has given it up
// and says so: such a claim goes when somebody takes the key, and with the object.
// One that cannot be read may have any.
func (l claims) has(id, path string) bool {
	if !validID(id) {
		return false
	}
	m, keys, err := l.readMeta(id)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return slices.ContainsFunc(keys.all(), func(k string) bool { return l.claimPath(m.Owner, k) == path })
}

// giveUp removes a dead claim.
func (c *checker) giveUp(ctx context.Context, id, path string) error {
	lock, err := c.lockNames(ctx, id)
	if err != nil {
		return err
	}
	defer lock.release()
	if now, err := os.Readlink(path); err != nil || now != id || c.claims.has(id, path) {
		return nil
	}
	return removeFile(path)
}
