package record

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// objects is what a Dir does to its files whatever their types: locks,
// operations, and telling what is whole from what is not.
type objects struct{ claims }

// lockStatus takes the status lock of an object: a flock on its folder in the
// run root. Remove holds it too, and the folder's removal is its last step,
// so whoever gets the lock of a folder that is still linked, and finds a
// config.json, has an object that stays until the lock is released. As for
// readers, an object that is being created is ErrNotFound.
func (l objects) lockStatus(ctx context.Context, id string) (dirLock, error) {
	if err := l.checkID(id); err != nil {
		return dirLock{}, err
	}
	for made := false; ; {
		lock, err := lockDir(ctx, l.runDir(id))
		switch {
		case errors.Is(err, errLocked):
			return dirLock{}, l.statusBusy(ctx, id, err)
		case errors.Is(err, fs.ErrNotExist):
			if !exists(l.configPath(id)) {
				return dirLock{}, l.notFound(id)
			}
			if err := l.makeRunDir(id); err != nil {
				return dirLock{}, err
			}
			made = true
			continue
		case err != nil:
			return dirLock{}, l.wrap(id, "locking status", err)
		}
		if l.settled(id) {
			return lock, nil
		}
		if made && !exists(l.configPath(id)) {
			_ = unix.Rmdir(l.runDir(id)) // a Remove overtook us
		}
		lock.release()
		return dirLock{}, l.notFound(id)
	}
}

// settled says whether the object whose status lock is held is there for its
// readers.
func (l objects) settled(id string) bool {
	if !exists(l.configPath(id)) {
		return false
	}
	if exists(l.statusPath(id)) {
		return true
	}
	op, err := l.readOp(id)
	return err == nil && l.lost(id, op) || exists(l.statusPath(id))
}

// makeRunDir makes the run folder of an object that was lost in a reboot. It
// may be there already.
func (l *layout) makeRunDir(id string) error {
	err := l.mkdir(l.runDir(id))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return l.wrap(id, "making run folder", err)
	}
	return nil
}

// mkdir makes an object's folder, and those above it if they are gone: a run
// root may be emptied while a process has it open.
func (l *layout) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.makeFolders(); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	return err
}

func (l *layout) makeFolders() error {
	for _, dir := range l.folders() {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &fs.PathError{Op: "making record folder", Path: dir, Err: underlying(err)}
		}
	}
	return nil
}

func (l objects) statusBusy(ctx context.Context, id string, locked error) error {
	busy := (&BusyError{ID: id, Holder: Holder{Kind: "status update"}}).because(ctx, locked)
	if op, err := l.readOp(id); err == nil && op != nil {
		busy.Holder = op.Holder
	}
	return busy
}

// replaceStatus writes the status file; the status lock is held, or nobody
// else knows of the object yet. The draft's name is fixed, so that a process
// killed here leaves at most one, which the next writer takes over.
func (l objects) replaceStatus(id string, data []byte) error {
	draft, path := l.statusDraft(id), l.statusPath(id)
	fd, err := writeDraft(draft, data, unix.O_TRUNC)
	if errors.Is(err, unix.ENOSPC) {
		return overwrite(path, data, err)
	}
	if err != nil {
		return err
	}
	unix.Close(fd)
	if err := os.Rename(draft, path); err != nil {
		return errors.Join(err, removeFile(draft))
	}
	return nil
}
