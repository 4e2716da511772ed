package record

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Known tells whether an ID is an object's, whole or not, or that of one that is
// being made or removed: what it may have on the machine is somebody's.
func (d *Dir[C, S]) Known(id string) bool {
	return d.l.checkID(id) == nil && (exists(d.l.rootDir(id)) || d.l.opWritten(id))
}

// Check finds records that are damaged or not whole, operations whose owner is
// dead (settle finishes or undoes one), and run folders, statuses and claims of
// objects that are not there. It changes nothing and takes no lock.
func (d *Dir[C, S]) Check(settle func(ctx context.Context, id string) error) ([]Finding, error) {
	l := sweeper{d.l}
	found, err := l.survey()
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, id := range found.dead {
		out = append(out, Finding{
			Kind: l.noun() + " record", Object: id, Problem: l.left(id), Repair: "finish or undo it",
			Mend: func(ctx context.Context) error { return settle(ctx, id) },
		})
	}
	for _, id := range found.orphans {
		out = append(out, Finding{
			Kind: "run folder", Object: l.runDir(id), Problem: fmt.Sprintf("there is no %s %q", l.noun(), id), Repair: "remove it",
			Mend: func(context.Context) error { l.sweep([]string{id}); return nil },
		})
	}
	for _, id := range found.kept {
		if m, _, err := l.readMeta(id); err == nil && m.Key != "" && !l.owns(m, m.Key) && !exists(l.statusPath(id)) {
			out = append(out, Finding{
				Kind: l.noun() + " record", Object: id, Problem: fmt.Sprintf("it does not hold its name %q", m.Key), Repair: "claim it again",
				Mend: func(context.Context) error { l.reclaim(id); return nil },
			})
		}
	}
	damaged, err := d.damaged()
	out = append(out, damaged...)
	claims, claimErr := l.deadClaims()
	statuses, statusErr := l.lostStatuses()
	return append(append(out, claims...), statuses...), errors.Join(err, claimErr, statusErr)
}

// left says what the dead owner of an operation was at.
func (l sweeper) left(id string) string {
	if h, err := l.readOp(id); err == nil && h != nil {
		return fmt.Sprintf("process %d, which is gone, was at %s", h.Pid, strings.TrimSpace(h.Kind+" "+h.Stage))
	}
	return "it is not whole"
}

// damaged finds records that cannot be read.
func (d *Dir[C, S]) damaged() ([]Finding, error) {
	ids, err := d.IDs()
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, id := range ids {
		e, err := d.Get(id)
		if err == nil {
			err = e.Damaged
		}
		if errors.Is(err, ErrCorrupt) {
			out = append(out, Finding{
				Kind: d.l.noun() + " record", Object: id, Problem: strings.ReplaceAll(err.Error(), "\n", " "), Repair: fmt.Sprintf("davit %s rm --force %s", d.l.noun(), id),
			})
		}
	}
	return out, nil
}

// deadClaims finds names that belong to no object.
func (l sweeper) deadClaims() ([]Finding, error) {
	entries, err := os.ReadDir(l.names)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading names: %w", underlying(err))
	}
	var out []Finding
	for _, e := range entries {
		path := l.names + "/" + e.Name()
		if _, err := hex.DecodeString(e.Name()); err != nil || !l.deadClaim(path) {
			continue
		}
		id, _ := os.Readlink(path)
		out = append(out, Finding{
			Kind: "name", Object: path, Problem: fmt.Sprintf("there is no %s %q that has it", l.noun(), id), Repair: "free it",
			Mend: func(ctx context.Context) error {
				lock, err := l.lockNames(ctx, id)
				if err != nil {
					return err
				}
				defer lock.release()
				if !l.deadClaim(path) {
					return nil
				}
				return removeFile(path)
			},
		})
	}
	return out, nil
}

// deadClaim says whether a claim is nobody's: its object is not there, was not
// given that key, and nobody is at work on it.
func (l sweeper) deadClaim(path string) bool {
	id, err := os.Readlink(path)
	if err != nil || !validID(id) {
		return err == nil
	}
	if l.opWritten(id) {
		return false
	}
	m, keys, err := l.readMeta(id)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) && !exists(l.rootDir(id)) && exists(path)
	}
	for _, key := range keys {
		if l.claimPath(m.Owner, key) == path {
			return false
		}
	}
	return exists(path)
}

// lostStatuses finds statuses of objects that are not there.
func (l sweeper) lostStatuses() ([]Finding, error) {
	entries, err := os.ReadDir(l.status)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading statuses: %w", underlying(err))
	}
	var out []Finding
	for _, e := range entries {
		id, _ := strings.CutSuffix(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "."), draftSuffix), jsonSuffix)
		path := l.status + "/" + e.Name()
		if !validID(id) || exists(l.rootDir(id)) || exists(l.runDir(id)) || !exists(path) {
			continue
		}
		out = append(out, Finding{
			Kind: "status", Object: path, Problem: fmt.Sprintf("there is no %s %q", l.noun(), id), Repair: "remove it",
			Mend: func(context.Context) error {
				window, err := open(l.run, unix.O_RDONLY|unix.O_DIRECTORY)
				if err != nil {
					return err
				}
				if tryLock(window, unix.LOCK_EX) != nil {
					unix.Close(window)
					return &BusyError{ID: id, Holder: Holder{Kind: KindCreate}}
				}
				defer unlock(window)
				if exists(l.rootDir(id)) || exists(l.runDir(id)) {
					return nil
				}
				return removeFile(path)
			},
		})
	}
	return out, nil
}
