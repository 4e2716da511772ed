package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Get reads one object, by its full ID and without a lock. What is being
// created, being removed, or not whole, is ErrNotFound; a configuration that
// cannot be read is [ErrCorrupt].
func (d *reader[C, S]) Get(id string) (Entry[C, S], error) {
	if err := d.l.checkID(id); err != nil {
		return Entry[C, S]{}, err
	}
	return d.load(id, make([]byte, pageSize))
}

// ConfigOf reads the configuration of an object whose operation the caller has,
// whole or not: what is left to do for one that is not can be seen from it. It
// returns ErrNotFound when there is none, [ErrCorrupt] when it cannot be read.
func (d *reader[C, S]) ConfigOf(o *Op) (C, error) {
	var f configFile[C]
	path := d.l.configPath(o.id)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return f.Config, d.l.notFound(o.id)
	}
	if err == nil {
		err = decode(path, data, &f)
	}
	return f.Config, err
}

// List reads all objects without a lock, oldest first, or tells them from memory
// (see [Dir.Keep]). Those that cannot be
// read are left out and joined in the error: the entries are good, whatever
// the error is.
func (d *reader[C, S]) List() ([]Entry[C, S], error) {
	all, err := d.All()
	out := make([]Entry[C, S], len(all))
	for i, e := range all {
		out[i] = *e
	}
	return out, err
}

// All is List without a copy of each entry, which takes more than the reading of one
// that is kept: none may be changed.
func (d *reader[C, S]) All() ([]*Entry[C, S], error) {
	if k := d.kept.Load(); k != nil {
		return k.list()
	}
	ids, err := d.l.ids()
	if err != nil {
		return nil, err
	}
	loaded := make([]Entry[C, S], len(ids))
	errs := make([]error, len(ids))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4, (len(ids)+15)/16) {
		wg.Go(func() {
			buf := make([]byte, 4*pageSize)
			for i := int(next.Add(1)) - 1; i < len(ids); i = int(next.Add(1)) - 1 {
				loaded[i], errs[i] = d.load(ids[i], buf)
			}
		})
	}
	wg.Wait()
	good := make([]*Entry[C, S], 0, len(ids))
	for i := range loaded {
		switch {
		case errs[i] == nil:
			good = append(good, &loaded[i])
			continue
		case !isNotFound(errs[i]):
		case d.l.stray(ids[i]):
			errs[i] = d.strayError(ids[i])
		default:
			errs[i] = nil
		}
	}
	sortEntries(good)
	return good, errors.Join(errs...)
}

// Each calls f for what of makes of each object, as [Dir.List] has them, without a
// slice of all. F may neither keep what it is given, for the next call has it, nor
// change what that points to, which is the record's.
func Each[C, S, T any](d *Dir[C, S], of func(Entry[C, S]) T, f func(*T)) error {
	entries, err := d.All()
	t := new(T)
	for _, e := range entries {
		*t = of(*e)
		f(t)
	}
	return err
}

func (d *reader[C, S]) strayError(id string) error {
	return fmt.Errorf("the record of %s %q is not whole: %w", d.l.noun(), id, ErrCorrupt)
}

// sortEntries puts the oldest first.
func sortEntries[C, S any](entries []*Entry[C, S]) {
	slices.SortFunc(entries, func(a, b *Entry[C, S]) int { return a.compare(&b.Meta) })
}

// compare orders objects by age, the oldest first.
func (m *Meta) compare(other *Meta) int {
	if c := m.Created.Compare(other.Created); c != 0 {
		return c
	}
	return strings.Compare(m.ID, other.ID)
}

// load reads config.json, the status, and the op file if it is not empty, in
// this order: see lost for what it means that one of them is missing. It reads
// by way of buf.
func (d *reader[C, S]) load(id string, buf []byte) (Entry[C, S], error) {
	var e Entry[C, S]
	path := d.l.configPath(id)
	data, err := readFileTo(path, buf)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return e, d.l.notFound(id)
	}
	if err != nil {
		return e, err
	}
	var cf configFile[C]
	if err := decode(path, data, &cf); err != nil {
		return e, err
	}
	if cf.Meta.ID != id {
		return e, fmt.Errorf("reading %s: %w: it is of %q", path, ErrCorrupt, cf.Meta.ID)
	}
	e.Meta, e.Config = cf.Meta, cf.Config
	st, stErr := d.readStatus(id, buf)
	op, err := d.l.readOp(id)
	if err != nil {
		return e, err
	}
	if errors.Is(stErr, fs.ErrNotExist) {
		st, stErr = d.readStatus(id, buf)
	}
	e.Number, e.MountNS, e.Status = st.Number, st.MountNS, st.Status
	if op != nil {
		e.Op = &op.Holder
	}
	var newer *VersionError
	switch {
	case stErr == nil:
	case errors.Is(stErr, fs.ErrNotExist):
		if !d.l.lost(id, op) {
			return Entry[C, S]{}, d.l.notFound(id)
		}
		e.Lost = true
	case errors.As(stErr, &newer):
		return Entry[C, S]{}, stErr
	default:
		var zero S
		e.Damaged, e.Number, e.MountNS, e.Status = stErr, 0, "", zero
	}
	if st.Renamed || e.Lost || e.Damaged != nil {
		key, err := d.l.readKey(id, e.Key)
		if err != nil {
			return Entry[C, S]{}, err
		}
		e.Key = key.Key
	}
	return e, nil
}

// lost tells an object that lost its status in a reboot from one that has
// none yet or none any more. The op was read after the status was found
// missing, and the status then looked for again:
//
//   - while Create is at work, and after it died, the op says so. Had it
//     ended, there would have been a status the second time.
//   - Remove takes config.json away before the status.
//   - a record that was not whole at a power loss may have lost its key.
func (l objects) lost(id string, op *opFile) bool {
	return (op == nil || !op.Fresh) && !l.loser(id)
}

// loser says whether the record is not whole: it has no configuration, its
// creation was cut short by a power loss, or another live object has its key. It is asked only when there is no status,
// and no operation that says more.
func (l objects) loser(id string) bool {
	if exists(l.statusPath(id)) {
		return false
	}
	m, _, err := l.readMeta(id)
	if errors.Is(err, fs.ErrNotExist) || exists(markOf(l.rootDir(id))) {
		return true
	}
	if err != nil || m.Key == "" {
		return false
	}
	holder, err := l.claimHolder(m.Owner, m.Key)
	return err == nil && holder != "" && holder != id
}

// stray says whether a listed record is not whole and no operation is written
// that says why. Somebody may be at work on it meanwhile, hence the order: with
// no operation before, Create is over; with none after, Remove is, and the
// durable folder goes before the op file.
func (l objects) stray(id string) bool {
	return !l.opWritten(id) && (l.half(id, false) || l.loser(id)) && !l.opWritten(id) && exists(l.rootDir(id))
}

// ids lists the durable folders.
func (l *layout) ids() ([]string, error) { return listIDs(l.root) }

func listIDs(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(n string) bool { return !validID(n) }), nil
}

// IDs lists the IDs of all records, whole or not, unsorted. It reads one folder.
func (d *reader[C, S]) IDs() ([]string, error) {
	ids, err := d.l.ids()
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	return ids, nil
}
