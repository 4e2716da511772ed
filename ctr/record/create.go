package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// CreateOptions say how Create writes.
type CreateOptions struct {
	// Durable makes the record survive a power loss: once Create returned, as one
	// that is not whole, and once its operation ended, as what it is. That takes
	// two syncs, and one more for a key.
	Durable bool
	// Part says that another record, of what this object is a part of, tells whether
	// it is to be there: it counts as whole as soon as it is written.
	Part bool
	// Stage is the first stage of the operation.
	Stage string
}

// Create makes the record of an object and begins the operation of kind
// KindCreate on it. m.ID is a new one, m.Key is claimed unless it is empty.
// Readers see the record when Create returns, or an instant before.
//
// A key that another object has is a [*NameTakenError], an ID that is there
// is ErrAlreadyExists, a configuration of 16 MiB as JSON ErrInvalidArgument;
// nothing is left then, nor after any other error. A
// process that dies on the way leaves an operation for Dead to find.
func (d *Dir[C, S]) Create(ctx context.Context, m Meta, c C, s S, o CreateOptions) (*Op, error) {
	l := d.l
	if err := l.checkID(m.ID); err != nil {
		return nil, err
	}
	if len(o.Stage) > maxText {
		return nil, invalidf("stage %q", o.Stage)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if m.Created.IsZero() {
		m.Created = l.now()
	}
	config, err := encode(configFile[C]{Version: Version, Meta: m, Config: c})
	if err != nil {
		return nil, l.wrap(m.ID, "encoding configuration", err)
	}
	op, err := insistOnOp(ctx, l, m.ID, o.Stage)
	if err != nil {
		return nil, err
	}
	op.follow(traceOf(ctx))
	err = l.writeRecord(ctx, m, config, o)
	if err == nil {
		err = failpoint.ReachOf(ctx, l.noun(), failpoint.RecordClaim)
	}
	if err == nil {
		st := statusFile[S]{Version: Version, Number: 1, MountNS: currentMountNS(), Status: s}
		if err = d.writeStatus(m.ID, st); err == nil {
			if k := d.kept.Load(); k != nil {
				k.made(m.ID)
			}
			return op, nil
		}
		err = l.wrap(m.ID, "writing status", err)
	}
	return nil, errors.Join(err, op.drop(context.WithoutCancel(ctx)))
}

// insistOnOp is createOp, and again where a run folder without a record was in the
// way: a Create that was killed has left it, or somebody who met a removal has made it
// and is about to take it back.
func insistOnOp(ctx context.Context, l objects, id, stage string) (*Op, error) {
	for try := 0; ; try++ {
		op, err := l.createOp(ctx, id, stage)
		if !errors.Is(err, errdefs.ErrAlreadyExists) || try == maxCreates || exists(l.rootDir(id)) {
			return op, err
		}
		sweeper{l}.sweep(never{}, id)
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
}

// maxCreates is how often a run folder without a record may be in the way.
const maxCreates = 5

// createOp makes both folders, and the op file, which has its name only when
// it is locked and written. That happens under a shared lock on the folder of
// all run folders: who has it exclusively (see sweep) knows that a run folder
// without an op file is nobody's.
func (l objects) createOp(ctx context.Context, id, stage string) (*Op, error) {
	window, err := open(l.run, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.makeFolders(); err != nil {
			return nil, err
		}
		window, err = open(l.run, unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err != nil {
		return nil, err
	}
	defer unlock(window)
	err = waitLock(ctx, window, unix.LOCK_SH, "")
	if errors.Is(err, errLocked) {
		return nil, (&BusyError{ID: id, Holder: Holder{Kind: "sweep"}}).because(ctx, err)
	}
	if err != nil {
		return nil, l.wrap(id, "locking the folder", err)
	}
	if exists(l.rootDir(id)) {
		return nil, l.existsError(id)
	}
	err = l.mkdir(l.runDir(id))
	if errors.Is(err, fs.ErrExist) {
		return nil, l.existsError(id)
	}
	if err != nil {
		return nil, l.wrap(id, "making run folder", err)
	}
	var op *Op
	err = failpoint.ReachOf(ctx, l.noun(), failpoint.RecordFolder)
	if err == nil {
		op, err = l.draftOp(id, stage)
	}
	if err != nil {
		return nil, errors.Join(err, removeContents(l.runDir(id)), removeDir(l.runDir(id)))
	}
	err = failpoint.ReachOf(ctx, l.noun(), failpoint.RecordOp)
	if err == nil {
		err = os.Mkdir(l.rootDir(id), 0o700)
	}
	if err == nil {
		return op, nil
	}
	if errors.Is(err, fs.ErrExist) {
		err = l.existsError(id)
	}
	// The folder is not ours: no Remove.
	err = errors.Join(err, removeFile(l.opPath(id)), removeDir(l.runDir(id)))
	op.Abandon()
	return nil, err
}

func (l *layout) existsError(id string) error {
	return fmt.Errorf("%s %q: %w", l.noun(), id, errdefs.ErrAlreadyExists)
}

func (l objects) draftOp(id, stage string) (*Op, error) {
	draft := l.runDir(id) + "/" + opDraft
	fd, err := open(draft, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	op := &Op{l: l, id: id, fd: fd}
	op.text = opFile{Version: Version, Holder: l.holder(KindCreate), Fresh: true}
	op.text.Stage = stage
	err = tryLock(fd, unix.LOCK_EX)
	if err == nil {
		op.reserve()
		err = op.write(op.text)
	}
	if err == nil {
		err = os.Rename(draft, l.opPath(id))
	}
	if err != nil {
		op.Abandon()
		return nil, err
	}
	return op, nil
}

// writeRecord writes config.json and claims the key.
//
// A durable record is synced here, before what it stands for is made, and again
// when its operation ends (see finished): until then a file in its folder says that
// it is not whole. Journalled file systems commit in order (ext4, xfs), or log with
// a new file the folders that lead to it (btrfs), so a sync of config.json under its
// final name makes its folder durable too, and the mark in it, which is older. The
// rename comes before the sync, for the sync to cover it: a power loss in between
// can leave an empty config.json, which is a record that is not whole either.
func (l objects) writeRecord(ctx context.Context, m Meta, config []byte, o CreateOptions) error {
	if err := failpoint.ReachOf(ctx, l.noun(), failpoint.RecordRoot); err != nil {
		return err
	}
	if o.Durable && !o.Part {
		if err := mark(l.rootDir(m.ID)); err != nil {
			return err
		}
	}
	path := l.configPath(m.ID)
	fd, err := writeDraft(path+draftSuffix, config, unix.O_EXCL)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := os.Rename(path+draftSuffix, path); err != nil {
		return err
	}
	if o.Durable {
		if err := l.fsync(fd); err != nil {
			return l.wrap(m.ID, "syncing configuration", err)
		}
	}
	if err := failpoint.ReachOf(ctx, l.noun(), failpoint.RecordConfig); err != nil || m.Key == "" {
		return err
	}
	return l.claim(ctx, m)
}

// markOf is the file in a durable folder that says that its record is not whole.
func markOf(dir string) string { return dir + "/" + markName }

func mark(dir string) error {
	fd, err := open(markOf(dir), unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// finished takes the mark off a durable record whose creation is over, and makes
// that, and its claim, durable.
func (l objects) finished(id string) error {
	err := unix.Unlink(markOf(l.rootDir(id)))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "removing", Path: markOf(l.rootDir(id)), Err: err}
	}
	if err := syncDir(l.rootDir(id), l.fsync); err != nil {
		return err
	}
	if m, _, err := l.readMeta(id); err != nil || m.Key == "" {
		return err
	}
	return syncDir(l.names, l.fsync)
}

// claimPatience bounds the wait for a name whose object is on its way out.
const claimPatience = 30 * time.Second

// Claiming calls create, a Create or a Rename, and once more each time when the
// name is taken by an object that is gone since. leaves tells that of an object: it
// waits where the object is being removed, and answers false where it is not.
// Another object's name stays a [*NameTakenError].
func Claiming(ctx context.Context, create func() error, leaves func(ctx context.Context, id string) (bool, error)) error {
	waiting, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for {
		err := create()
		var taken *NameTakenError
		if !errors.As(err, &taken) || waiting.Err() != nil {
			return err
		}
		gone, lerr := leaves(waiting, taken.ID)
		if lerr != nil || !gone {
			return errors.Join(err, lerr)
		}
	}
}
