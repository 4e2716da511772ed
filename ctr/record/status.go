package record

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lockStatus takes the status lock of an object: a flock on its folder in the
// run root. Remove holds it too, and the folder's removal is its last step,
// so whoever gets the lock of a folder that is still linked, and finds a
// config.json, has an object that stays until the lock is released.
func (l *layout) lockStatus(ctx context.Context, id string) (dirLock, error) {
	if err := l.checkID(id); err != nil {
		return dirLock{}, err
	}
	for {
		lock, err := lockDir(ctx, l.runDir(id))
		switch {
		case errors.Is(err, errLocked):
			return dirLock{}, l.statusBusy(ctx, id)
		case errors.Is(err, fs.ErrNotExist):
			if err := l.makeRunDir(id); err != nil {
				return dirLock{}, err
			}
			continue
		case err != nil:
			return dirLock{}, l.wrap(id, "locking status", err)
		}
		if exists(l.configPath(id)) {
			return lock, nil
		}
		_ = unix.Rmdir(l.runDir(id)) // ours if makeRunDir raced a Remove; else not empty
		lock.release()
		return dirLock{}, l.notFound(id)
	}
}

// makeRunDir makes the folder in the run root of an object that was lost in a
// reboot.
func (l *layout) makeRunDir(id string) error {
	if !exists(l.configPath(id)) {
		return l.notFound(id)
	}
	err := os.Mkdir(l.runDir(id), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return l.wrap(id, "making run folder", err)
	}
	return nil
}

func (l *layout) statusBusy(ctx context.Context, id string) error {
	busy := &BusyError{ID: id, cause: context.Cause(ctx), Holder: Holder{Kind: "status update"}}
	if op, err := l.readOp(id); err == nil && op != nil {
		busy.Holder = op.Holder
	}
	return busy
}

// replaceStatus writes the status file; the status lock is held, or nobody
// else knows of the object yet. The draft's name is fixed, so that a process
// killed here leaves at most one, which the next writer takes over.
func (l *layout) replaceStatus(id string, data []byte) error {
	draft, path := l.statusDraft(id), l.statusPath(id)
	fd, err := writeDraft(draft, data, unix.O_TRUNC)
	if err != nil {
		return err
	}
	unix.Close(fd)
	if err := os.Rename(draft, path); err != nil {
		return errors.Join(err, removeFile(draft))
	}
	return nil
}
