package record

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Keep reads all records into memory, and has List answer from there until ctx
// ends: it then reads no file, but for objects that a reboot took the status of.
// What other processes change is seen as soon as the kernel tells (see Watch),
// what this Dir changes at once; a rename whose process was killed on its way,
// with the object's next change. Get goes on reading files. A Dir that is kept
// already stays so, and changed is not called.
//
// Entries of List are then shared: neither they nor what they point to may be
// changed. Their Op is nil, for operations are not watched.
//
// changed, which may be nil, is called after each change, by one goroutine for
// changes that were watched and by whoever makes one here; with an empty ID when
// any object may have changed. It must neither wait nor change records.
func (d *Dir[C, S]) Keep(ctx context.Context, changed func(id string)) error {
	if changed == nil {
		changed = func(string) {}
	}
	if !d.l.keeping.CompareAndSwap(false, true) {
		return nil
	}
	k := newKept(&d.reader, changed)
	events, err := d.Watch(ctx)
	if err == nil {
		err = k.rescan()
	}
	if err != nil {
		d.l.keeping.Store(false)
		return fmt.Errorf("keeping %s in memory: %w", d.l.kind, err)
	}
	removed := k.remove
	d.l.removed.Store(&removed)
	d.kept.Store(k)
	go func() { // ends with ctx, as the channel does
		for e := range events {
			k.event(e)
		}
		d.kept.Store(nil)
		d.l.removed.Store(nil)
		d.l.keeping.Store(false)
	}()
	return nil
}

// Kept is Get for a Dir that is kept: from memory, and shared. It is Get itself
// for any other Dir, and for what a reboot took the status of.
func (d *Dir[C, S]) Kept(id string) (Entry[C, S], error) {
	k := d.kept.Load()
	if k == nil {
		return d.Get(id)
	}
	s, ok := k.slot(id)
	switch {
	case !ok:
		return Entry[C, S]{}, d.l.notFound(id)
	case s.err != nil || s.entry.Lost:
		return d.Get(id)
	}
	return s.entry, nil
}

// kept is what a Dir has in memory.
type kept[C, S any] struct {
	from    *reader[C, S]
	changed func(id string)

	mu    sync.Mutex
	slots map[string]*slot[C, S]
	reads map[string]*reading // those that are under way
	// writes counts the changes that were made here.
	writes uint64
}

func newKept[C, S any](from *reader[C, S], changed func(id string)) *kept[C, S] {
	return &kept[C, S]{from: from, changed: changed, slots: map[string]*slot[C, S]{}, reads: map[string]*reading{}}
}

// reading is of an object that n goroutines read; gone says that it was removed here
// since one of them began, which may have found it.
type reading struct {
	n    int
	gone bool
}

// slot is one object, or why it cannot be read. One that is kept is not changed, but
// replaced: whoever lists them looks at it without the lock.
type slot[C, S any] struct {
	entry Entry[C, S]
	err   error
	write uint64 // which one it was made by; 0 for one that was read
}

func (k *kept[C, S]) slot(id string) (slot[C, S], bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.slots[id]; s != nil {
		return *s, true
	}
	return slot[C, S]{}, false
}

// list is All from memory.
func (k *kept[C, S]) list() ([]*Entry[C, S], error) {
	k.mu.Lock()
	slots := slices.AppendSeq(make([]*slot[C, S], 0, len(k.slots)), maps.Values(k.slots))
	k.mu.Unlock()
	slices.SortFunc(slots, func(a, b *slot[C, S]) int { return a.entry.compare(&b.entry.Meta) })
	out := make([]*Entry[C, S], 0, len(slots))
	var errs []error
	for _, s := range slots {
		if s.err == nil && s.entry.Lost {
			// Nothing tells of a lost object's removal or renaming.
			s = new(k.read(s.entry.ID))
		}
		switch {
		case s.err == nil:
			out = append(out, &s.entry)
		case !isNotFound(s.err):
			errs = append(errs, s.err)
		}
	}
	return out, errors.Join(errs...)
}

// read reads an object, to be kept.
func (k *kept[C, S]) read(id string) slot[C, S] {
	e, err := k.from.load(id, make([]byte, 4*pageSize))
	e.Op = nil
	if isNotFound(err) && k.from.l.stray(id) {
		err = k.from.strayError(id)
	}
	return slot[C, S]{entry: e, err: err}
}

// event takes over what a watched event tells of.
func (k *kept[C, S]) event(e Event) {
	if e.Overflow {
		if err := k.rescan(); err != nil {
			k.from.l.log.Error("reading all records again", "kind", k.from.l.kind, "error", err)
		}
		k.changed("")
		return
	}
	k.refresh(e.ID)
	k.changed(e.ID)
}

// refresh reads an object again.
func (k *kept[C, S]) refresh(id string) {
	since := k.begin(id)
	s := k.read(id)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(id, s, since)
}

// begin begins the reading of objects, which put ends for each, and returns the
// count of writes.
func (k *kept[C, S]) begin(ids ...string) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if k.reads[id] == nil {
			k.reads[id] = &reading{}
		}
		k.reads[id].n++
	}
	return k.writes
}

// put takes over what was read of an object since that count of writes. What was
// written here meanwhile is newer, whatever was read. k.mu is held.
func (k *kept[C, S]) put(id string, s slot[C, S], since uint64) {
	r := k.reads[id]
	if r.n--; r.n == 0 {
		delete(k.reads, id)
	}
	switch old, ok := k.slots[id]; {
	case isNotFound(s.err):
		if !ok || old.write <= since {
			delete(k.slots, id)
		}
	case r.gone:
	case ok && old.write > since && old.entry.Number >= s.entry.Number:
	default:
		k.slots[id] = &s
	}
}

// rescan reads all objects again.
func (k *kept[C, S]) rescan() error {
	k.mu.Lock()
	since := k.writes
	before := make([]string, 0, len(k.slots))
	for id := range k.slots {
		before = append(before, id)
	}
	k.mu.Unlock()
	ids, err := k.from.l.ids()
	if err != nil {
		return err
	}
	k.begin(ids...)
	found := make(map[string]slot[C, S], len(ids))
	for _, id := range ids {
		found[id] = k.read(id)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, s := range found {
		k.put(id, s, since)
	}
	for _, id := range before {
		if _, ok := found[id]; ok {
			continue
		}
		if old := k.slots[id]; old != nil && old.write <= since {
			delete(k.slots, id)
		}
	}
	return nil
}

// made takes over an object that was created or renamed here.
func (k *kept[C, S]) made(id string) {
	k.refresh(id)
	k.changed(id)
}

// updated takes over a status that was written here.
func (k *kept[C, S]) updated(id string, st statusFile[S]) {
	k.mu.Lock()
	old := k.slots[id]
	whole := old != nil && old.err == nil && !old.entry.Lost && old.entry.Damaged == nil
	if whole && old.entry.Number < st.Number {
		s := *old
		s.entry.Status, s.entry.Number = st.Status, st.Number
		k.writes++
		s.write = k.writes
		k.slots[id] = &s
	}
	k.mu.Unlock()
	if !whole {
		k.refresh(id) // another process made it, and its event has not come
	}
	k.changed(id)
}

// remove forgets an object that was removed here.
func (k *kept[C, S]) remove(id string) {
	k.mu.Lock()
	delete(k.slots, id)
	if r := k.reads[id]; r != nil {
		r.gone = true
	}
	k.writes++
	k.mu.Unlock()
	k.changed(id)
}
