package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// A claim is a symlink names/<kind>/<sha256(owner, key)> → id. Making one
// needs no lock: symlink(2) has one winner. Removing and replacing one is
// done under the names lock only, a flock on the names folder. That is the
// innermost lock: after the operation and the status lock.

type claims struct{ *layout }

// claim makes key point to id. It returns a NameTakenError when a live object
// has the key. It may be repeated.
func (l claims) claim(ctx context.Context, m Meta) error {
	path := l.claimPath(m.Owner, m.Key)
	for {
		err := os.Symlink(m.ID, path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("claiming name %q: %w", m.Key, underlying(err))
		}
		holder, has, err := l.claimed(m.Owner, m.Key)
		switch {
		case err != nil:
			return err
		case holder == m.ID:
			var ours bool
			if ours, err = l.confirm(ctx, m); ours {
				return nil
			}
		case has:
			return &NameTakenError{Key: m.Key, ID: holder}
		case holder != "":
			err = l.forsake(ctx, holder, m.Key)
		default:
			err = l.takeOver(ctx, m)
		}
		if err != nil {
			return err
		}
	}
}

// confirm tells whether a claim that was found to be the object's own is so for good:
// one of a key that it had given up may have been looked at by who takes it over.
func (l claims) confirm(ctx context.Context, m Meta) (bool, error) {
	lock, err := l.lockNames(ctx, m.ID)
	if err != nil {
		return false, err
	}
	defer lock.release()
	return l.owns(m, m.Key), nil
}

// takeOver removes a dead claim. The caller then claims in competition with
// others.
func (l claims) takeOver(ctx context.Context, m Meta) error {
	lock, err := l.lockNames(ctx, m.ID)
	if err != nil {
		return err
	}
	defer lock.release()
	// Under the lock a claim that is there stays what it is. One that is not
	// there can be made at any moment, and must not be removed then.
	path := l.claimPath(m.Owner, m.Key)
	if !exists(path) {
		return nil
	}
	holder, err := l.claimHolder(m.Owner, m.Key)
	if err != nil || holder != "" {
		return err
	}
	return removeFile(path)
}

// renamePatience is how long a key is waited for that an object may be about to get,
// or to give up.
const renamePatience = time.Second

// forsake has an object give up a key that it has claimed and not got, which is what a
// rename leaves that was cut short; a claim that leads from there to it is dead then.
// It is a NameTakenError while a rename is under way.
func (l claims) forsake(ctx context.Context, id, key string) error {
	ctx, cancel := context.WithTimeout(ctx, renamePatience)
	defer cancel()
	lock, err := objects{l}.lockStatus(ctx, id)
	if err != nil {
		return fmt.Errorf("%w: %w", &NameTakenError{Key: key, ID: id}, err)
	}
	defer lock.release()
	_, keys, err := l.readMeta(id)
	at := slices.Index(keys.Also, key)
	if err != nil || at < 0 {
		return err
	}
	keys.Also, keys.Gone = slices.Delete(keys.Also, at, at+1), append(keys.Gone, key)
	return l.writeKey(id, keys)
}

// claimHolder is the live object that the claim points to, "" if there is none.
func (l claims) claimHolder(owner Owner, key string) (string, error) {
	id, _, err := l.claimed(owner, key)
	return id, err
}

// named is the object that has the key, "" if there is none.
func (l claims) named(owner Owner, key string) (string, error) {
	id, has, err := l.claimed(owner, key)
	if !has {
		id = ""
	}
	return id, err
}

// claimed is the live object that the claim points to, "" if there is none, and whether
// the key is its own: it is not yet, or no more, in a rename, or after one that was cut
// short. A claim is made after its object's config.json and released before it, so a
// claim without one was left by a power loss, and is dead; so is one whose object was
// since given another key.
func (l claims) claimed(owner Owner, key string) (id string, has bool, err error) {
	id, err = os.Readlink(l.claimPath(owner, key))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading the claim of name %q: %w", key, underlying(err))
	}
	if !validID(id) {
		return "", false, nil
	}
	meta, keys, err := l.readMeta(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", false, nil
	case err != nil:
		return id, true, nil // damaged is not dead: its key stays its own
	case meta.Owner != owner || !slices.Contains(keys.live(), key):
		return "", false, nil
	}
	return id, keys.Key == key, nil
}

// readMeta reads an object's Meta, with the key given last, and its keys. The error is fs.ErrNotExist for a config.json that is
// absent or empty.
func (l claims) readMeta(id string) (Meta, keyFile, error) {
	path := l.configPath(id)
	data, err := readFile(path)
	if err == nil && len(data) == 0 {
		err = &fs.PathError{Op: "reading", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return Meta{}, keyFile{}, err
	}
	var f metaFile
	if err := decode(path, data, &f); err != nil {
		return Meta{}, keyFile{}, err
	}
	keys, err := l.readKey(id, f.Meta.Key)
	if err != nil {
		return Meta{}, keyFile{}, err
	}
	f.Meta.Key = keys.Key
	return f.Meta, keys, nil
}

// readKey reads key.json; without one the key is first.
func (l claims) readKey(id, first string) (keyFile, error) {
	path := l.keyPath(id)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return keyFile{Key: first}, nil
	}
	if err != nil {
		return keyFile{}, err
	}
	var f keyFile
	err = decode(path, data, &f)
	return f, err
}

func (l claims) lockNames(ctx context.Context, id string) (dirLock, error) {
	lock, err := lockDir(ctx, l.names)
	if errors.Is(err, errLocked) {
		return lock, (&BusyError{ID: id, Holder: Holder{Kind: "name change"}}).because(ctx, err)
	}
	return lock, err
}

// release gives up those of the keys that are claimed for the object.
func (l claims) release(ctx context.Context, m Meta, keys []string) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "" })
	if len(keys) == 0 {
		return nil
	}
	lock, err := l.lockNames(ctx, m.ID)
	if err != nil {
		return err
	}
	defer lock.release()
	var errs []error
	for _, key := range keys {
		if l.owns(m, key) {
			errs = append(errs, removeFile(l.claimPath(m.Owner, key)))
		}
	}
	return errors.Join(errs...)
}

// Rename gives the object another key. It is a [*NameTakenError] when another
// object of the same owner has it. It is durable when it returns, and counts
// as a status update for those who watch. The caller need not hold the
// object's operation.
func (d *Dir[C, S]) Rename(ctx context.Context, id, newKey string) error {
	if newKey == "" {
		return invalidf("renaming %s %q to nothing", d.l.noun(), id)
	}
	lock, err := d.l.lockStatus(ctx, id)
	if err != nil {
		return err
	}
	defer lock.release()
	m, keys, err := d.l.readMeta(id)
	if errors.Is(err, fs.ErrNotExist) {
		return d.l.notFound(id)
	}
	if err != nil {
		return err
	}
	if m.Key == newKey { // a rename that was cut short may not have released
		return d.l.release(ctx, m, keys.Gone)
	}
	// Before key.json there is to be a status that says to read it, and
	// after it a newer one, that tells watchers.
	if err := d.touchStatus(id); err != nil {
		return err
	}
	if err := d.l.rename(ctx, m, keys.all(), newKey); err != nil {
		return err
	}
	if err := d.touchStatus(id); err != nil {
		return err
	}
	if k := d.kept.Load(); k != nil {
		k.made(id)
	}
	return nil
}

func (d *Dir[C, S]) touchStatus(id string) error {
	st, err := d.readStatus(id, make([]byte, pageSize))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // lost: key.json is then read anyway
	}
	if err != nil {
		return err
	}
	st.Renamed = true
	st.Number++
	return d.writeStatus(id, st)
}

// rename is written down in key.json before it claims and before it releases,
// so that whoever removes the object after a crash knows all its claims.
func (l claims) rename(ctx context.Context, m Meta, keys []string, newKey string) error {
	held := slices.DeleteFunc(keys, func(k string) bool { return k == m.Key || k == newKey || !l.owns(m, k) })
	if err := l.writeKey(m.ID, keyFile{Key: m.Key, Also: append(slices.Clone(held), newKey)}); err != nil {
		return err
	}
	to := m
	to.Key = newKey
	err := failpoint.ReachOf(ctx, l.noun(), failpoint.RenameIntent)
	if err == nil {
		err = l.claim(ctx, to)
	}
	if err != nil {
		return errors.Join(err, l.writeKey(m.ID, keyFile{Key: m.Key, Also: held}))
	}
	if err := syncDir(l.names, l.fsync); err != nil {
		return err
	}
	if err := failpoint.ReachOf(ctx, l.noun(), failpoint.RenameClaim); err != nil {
		return err
	}
	held = append(held, m.Key)
	if err := l.writeKey(m.ID, keyFile{Key: newKey, Gone: held}); err != nil {
		return err
	}
	if err := failpoint.ReachOf(ctx, l.noun(), failpoint.RenameRelease); err != nil {
		return err
	}
	return l.release(ctx, m, held)
}

// owns says whether the key's claim points to the object.
func (l claims) owns(m Meta, key string) bool {
	id, err := os.Readlink(l.claimPath(m.Owner, key))
	return err == nil && id == m.ID
}

func (l claims) writeKey(id string, f keyFile) error {
	f.Version = Version
	data, err := encode(f)
	if err != nil {
		return err
	}
	return l.writeAtomic(l.keyPath(id), data, WriteOptions{Sync: true})
}
