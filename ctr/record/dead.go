package record

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// Dead lists the objects whose operation nobody is at work on: one is written
// and its lock is free, or the record is not whole. Begin each of them and
// finish or undo [Op.Prior]. The order is stable.
//
// On the way it puts right what needs no decision: empty run folders of
// records that are gone are removed, and a record that lost only its claim in
// a power loss gets it back.
func (d *Dir[C, S]) Dead() ([]string, error) { return d.l.dead() }

func (l *layout) dead() ([]string, error) {
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
		var st unix.Stat_t
		written := unix.Lstat(l.opPath(id), &st) == nil && st.Size > 0
		_, record := slices.BinarySearch(kept, id)
		switch {
		case written && l.abandoned(id):
			dead = append(dead, id)
		case !written && !record:
			orphans = append(orphans, id)
		}
	}
	for _, id := range kept {
		if _, ok := slices.BinarySearch(running, id); !ok && l.stranded(id) {
			dead = append(dead, id)
		}
	}
	if len(orphans) > 0 {
		dead = append(dead, l.sweep(orphans)...)
	}
	slices.Sort(dead)
	return dead, nil
}

// abandoned says whether an operation is written and its lock is free. The
// lock is tried shared, so that two who look do not see each other.
func (l *layout) abandoned(id string) bool {
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

// stranded says whether a record that has no run folder is not whole. One
// whose key nobody has claims it again.
func (l *layout) stranded(id string) bool {
	if l.loser(id) {
		return exists(l.rootDir(id)) && !exists(l.opPath(id))
	}
	return false
}

// sweep removes run folders that have neither a record nor an operation, and
// returns those that are not empty.
func (l *layout) sweep(ids []string) []string {
	window, err := open(l.run, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	if tryLock(window, unix.LOCK_EX) != nil {
		unix.Close(window)
		return nil // a Create is on its way: another time
	}
	defer unlock(window)
	for _, id := range ids {
		l.sweepOne(id)
	}
	return nil
}

func (l *layout) sweepOne(id string) {
	fd, err := open(l.opPath(id), unix.O_RDWR|unix.O_NOFOLLOW)
	if err == nil {
		if tryLock(fd, unix.LOCK_EX) != nil {
			unix.Close(fd)
			return
		}
		defer unlock(fd)
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Nlink == 0 || st.Size > 0 {
			return
		}
	}
	if exists(l.rootDir(id)) {
		return
	}
	err = errors.Join(removeFile(l.runDir(id)+"/"+opDraft), removeFile(l.opPath(id)), removeDir(l.runDir(id)))
	if err != nil {
		l.log.Warn("run folder without a record", "kind", l.kind, "id", id, "err", err)
	}
}
