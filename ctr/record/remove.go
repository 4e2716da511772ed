package record

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// Remove deletes the object's record and everything in its two folders, frees
// its key and ends the operation. Nothing mounted is entered: a mount below
// the run folder is ErrFailedPrecondition, and the record is then still
// whole. After any error the operation is abandoned, see Abandon: it is still
// written, and whoever takes it up may repeat Remove.
//
// The order is: what the run folder holds, the claims, config.json (from here
// on the object is ErrNotFound), the durable folder, the status, the op file,
// the run folder. Killed anywhere before the op file goes, it is a written
// operation without an owner; after a power loss, whole or not whole.
func (o *Op) Remove(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd < 0 {
		return nil
	}
	defer func() {
		if o.fd >= 0 {
			o.close()
		}
	}()
	lock, err := lockDir(ctx, o.l.runDir(o.id))
	if errors.Is(err, errLocked) {
		return o.l.statusBusy(ctx, o.id, err)
	}
	if err != nil {
		return o.l.wrap(o.id, "locking status", err)
	}
	defer lock.release()
	if err := o.l.remove(ctx, o.id); err != nil {
		return o.l.wrap(o.id, "removing record", err)
	}
	o.close()
	if removed := o.l.removed.Load(); removed != nil {
		(*removed)(o.id)
	}
	return nil
}

func (l objects) remove(ctx context.Context, id string) error {
	if err := failpoint.ReachOf(ctx, l.noun(), failpoint.RemoveRecord); err != nil {
		return err
	}
	if err := removeContents(l.runDir(id), opName); err != nil {
		return err
	}
	if err := failpoint.ReachOf(ctx, l.noun(), failpoint.RemoveRun); err != nil {
		return err
	}
	m, keys, err := l.readMeta(id)
	if err == nil {
		err = l.release(ctx, m, keys.all())
	} else if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		err = nil // its claim, if any, is dead
	}
	if err != nil {
		return err
	}
	for _, step := range []struct {
		point failpoint.Point // before it
		do    func() error
	}{
		{failpoint.RemoveClaim, func() error { return removeFile(l.configPath(id)) }},
		{failpoint.RemoveConfig, func() error { return removeTree(l.rootDir(id)) }},
		{failpoint.RemoveRoot, func() error { return errors.Join(removeFile(l.statusDraft(id)), removeFile(l.statusPath(id))) }},
		{failpoint.RemoveStatus, func() error { return removeFile(l.opPath(id)) }},
	} {
		if err := failpoint.ReachOf(ctx, l.noun(), step.point); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	_ = failpoint.ReachOf(ctx, l.noun(), failpoint.RemoveOp) // the object is gone: nothing more can fail
	_ = unix.Rmdir(l.runDir(id))                             // not empty: somebody is finding out that it is gone, and removes it
	return nil
}

// removeTree removes a folder and what it holds. It tries again when a file
// was made in it meanwhile.
func removeTree(dir string) error {
	for try := 0; ; try++ {
		if err := removeContents(dir); err != nil {
			return err
		}
		err := removeDir(dir)
		if !errors.Is(err, unix.ENOTEMPTY) || try == 10 {
			return err
		}
	}
}

// drop takes back what Create made, when it fails.
func (o *Op) drop(ctx context.Context) error {
	return o.Remove(ctx)
}
