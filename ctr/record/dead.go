package record

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"
)

// Dead lists, sorted, the objects that need somebody to look after them: an
// operation is written and its lock is free, or the record is not whole. Begin
// each of them, finish or undo [Op.Prior], and End or Remove; when there is no
// Prior, or no object, somebody else was faster.
//
// On the way it puts right what needs no decision: empty run folders of
// records that are gone are removed, and a record that lost only its claim in
// a power loss gets it back.
func (d *Dir[C, S]) Dead() ([]string, error) { return sweeper{d.l}.dead() }

// sweeper looks through all objects for what the dead have left.
type sweeper struct{ objects }

func (l sweeper) dead() ([]string, error) {
	running, err := listIDs(l.run)
	if err != nil {
		return nil, err
	}
	kept, err := l.ids()
	if err != nil {
		return nil, err
	}
	slices.Sort(running)
	slices.Sort(kept)
	var dead, orphans []string
	for _, id := range running {
		written := l.opWritten(id)
		_, record := slices.BinarySearch(kept, id)
		switch {
		case written && l.abandoned(id), !written && record && l.stray(id):
			dead = append(dead, id)
		case !written && !record:
			orphans = append(orphans, id)
		}
	}
	for _, id := range kept {
		if _, ok := slices.BinarySearch(running, id); ok {
			continue
		}
		if l.stray(id) {
			dead = append(dead, id)
		} else {
			l.reclaim(id)
		}
	}
	if len(orphans) > 0 {
		l.sweep(ended{}, orphans...)
	}
	slices.Sort(dead)
	return dead, nil
}

// abandoned says whether an operation is written and its lock is free. The
// lock is tried shared, so that two who look do not see each other.
func (l sweeper) abandoned(id string) bool {
	fd, err := open(l.opPath(id), unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return false
	}
	if tryLock(fd, unix.LOCK_SH) != nil {
		unix.Close(fd)
		return false
	}
	defer unlock(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Nlink > 0 && st.Size > 0
}

func (l objects) opWritten(id string) bool {
	var st unix.Stat_t
	return unix.Lstat(l.opPath(id), &st) == nil && st.Size > 0
}

// reclaim claims the key of a record that lost its status and its claim: the
// object was not acknowledged, or somebody lost the folder of names. Keys that it
// has given up, and whose release was lost, it releases. It leaves alone what
// somebody is at work on.
func (l sweeper) reclaim(id string) {
	if exists(l.statusPath(id)) {
		return
	}
	m, keys, err := l.readMeta(id)
	if err != nil {
		return
	}
	if err := l.release(ended{}, m, keys.Gone); err != nil {
		l.log.Debug("releasing names that were given up", "kind", l.kind, "id", id, "err", err)
	}
	if m.Key == "" || l.owns(m, m.Key) {
		return
	}
	if l.makeRunDir(id) != nil {
		return
	}
	fd, err := open(l.runDir(id), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return
	}
	if tryLock(fd, unix.LOCK_EX) != nil {
		unix.Close(fd)
		return
	}
	defer unlock(fd)
	switch {
	case linked(fd) && l.settled(id):
		err = l.claim(ended{}, m) // a NameTakenError is for the next one who looks
		l.log.Debug("claiming a lost name again", "kind", l.kind, "id", id, "key", m.Key, "err", err)
	case !exists(l.rootDir(id)):
		_ = unix.Rmdir(l.runDir(id)) // a Remove was faster, and we made it anew
	}
}

// sweep removes run folders that have neither a record nor an operation. A Create that
// is on its way is waited for until ctx ends: it may be about to put its operation there.
func (l sweeper) sweep(ctx context.Context, ids ...string) {
	window, err := open(l.run, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer unlock(window)
	if waitLock(ctx, window, unix.LOCK_EX, "") != nil {
		return // another time
	}
	for _, id := range ids {
		l.sweepOne(id)
	}
}

func (l sweeper) sweepOne(id string) {
	fd, err := open(l.opPath(id), unix.O_RDWR|unix.O_NOFOLLOW)
	if err == nil {
		if tryLock(fd, unix.LOCK_EX) != nil {
			unix.Close(fd)
			return
		}
		defer unlock(fd)
		if !linked(fd) || l.opWritten(id) {
			return
		}
	}
	if exists(l.rootDir(id)) {
		return
	}
	if err := removeTree(l.runDir(id)); err != nil {
		l.log.Debug("removing a run folder without a record", "kind", l.kind, "id", id, "err", err)
	}
}
