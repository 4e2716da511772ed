package record

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// Resolve finds the object that ref means, among those of the owners (nil is
// all): an exact key, else a full ID, else a unique prefix of an ID. It
// returns ErrNotFound or an [*AmbiguousError].
func (d *reader[C, S]) Resolve(owners []Owner, ref string) (string, error) {
	if owners == nil {
		owners = []Owner{OwnerCLI, OwnerCRI}
	}
	var found []string
	for _, o := range owners {
		id, err := d.l.named(o, ref)
		if err != nil {
			return "", err
		}
		if id != "" {
			found = append(found, id)
		}
	}
	if len(found) == 0 {
		return d.ResolveID(owners, ref)
	}
	return finder{d.l}.only(ref, found)
}

// ResolveID is Resolve by ID alone: a full one, else a unique prefix of one.
func (d *reader[C, S]) ResolveID(owners []Owner, ref string) (string, error) {
	if ref == "" {
		return "", invalidf("empty reference to a %s", d.l.noun())
	}
	var found []string
	if validID(ref) {
		var err error
		if found, err = (finder{d.l}).byPrefix(owners, ref); err != nil {
			return "", err
		}
	}
	return finder{d.l}.only(ref, found)
}

// only is what a reference means that fits these, if it is one.
func (l finder) only(ref string, found []string) (string, error) {
	switch len(found) {
	case 0:
		return "", l.notFound(ref)
	case 1:
		return found[0], nil
	}
	slices.Sort(found)
	return "", &AmbiguousError{Ref: ref, IDs: found}
}

// Lookup finds the object of an owner that has exactly this key, whole or not.
// ErrNotFound if there is none.
func (d *reader[C, S]) Lookup(owner Owner, key string) (string, error) {
	id, err := d.l.named(owner, key)
	if err == nil && id == "" {
		err = d.l.notFound(key)
	}
	return id, err
}

// finder finds objects by their ID.
type finder struct{ objects }

// byPrefix finds the records whose ID is or begins with ref.
func (l finder) byPrefix(owners []Owner, ref string) ([]string, error) {
	ids := []string{ref}
	if !exists(l.configPath(ref)) {
		var err error
		if ids, err = l.ids(); err != nil {
			return nil, err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, ref) })
	}
	return slices.DeleteFunc(ids, func(id string) bool { return !l.resolvable(owners, id) }), nil
}

func (l finder) resolvable(owners []Owner, id string) bool {
	m, _, err := l.readMeta(id)
	if err != nil {
		// What cannot be read can still be named, for Get to say why.
		return !errors.Is(err, fs.ErrNotExist)
	}
	if !slices.Contains(owners, m.Owner) {
		return false
	}
	return l.settled(id)
}
