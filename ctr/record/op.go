package record

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// maxText bounds Kind and Stage, so that an op file fits one page: a page is
// written whole or not at all, whenever the process is killed.
const maxText = 128

// Op is an operation under way: the object's op file, locked. No other
// process and no other goroutine has one for the same object until End,
// Remove or Abandon, or until this process is gone. Its methods may be called
// concurrently. An Op that is dropped keeps its lock.
type Op struct {
	l  objects
	id string

	mu    sync.Mutex
	fd    int // -1 when the operation is over
	text  opFile
	size  int // of the op file
	prior *Holder
	trace func(Step) // nil for nobody
}

// ID is the object's ID.
func (o *Op) ID() string { return o.id }

// Kind is what Begin was given.
func (o *Op) Kind() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Kind
}

// Stage is what was advanced to last; "" before.
func (o *Op) Stage() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Stage
}

// Prior is the operation of a dead owner that was found when this one began.
// It stays written down until Advance or End, so that it is found again if
// this process dies before it has dealt with it. An operation of kind
// KindCreate with no stage also stands for a record that is not whole, though
// nothing is written: one left by a power loss.
func (o *Op) Prior() (Holder, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.prior == nil {
		return Holder{}, false
	}
	return *o.prior, true
}

// Advance writes the stage down before its first side effect. Each stage is a
// point of package failpoint. Where there is a Prior, it is that operation which goes
// on: who dies now leaves one of its kind, and nothing of what was begun for itself.
func (o *Op) Advance(ctx context.Context, stage string) error {
	if len(stage) > maxText {
		return invalidf("stage %q", stage)
	}
	kind, err := o.advance(stage)
	if err != nil {
		return err
	}
	return failpoint.ReachStage(ctx, o.l.noun(), kind, stage)
}

// Supersede is Advance for an operation that takes the place of Prior, because it takes
// back all that was done by that: from the stage on, that one is forgotten.
func (o *Op) Supersede(ctx context.Context, stage string) error {
	o.mu.Lock()
	o.prior = nil
	o.mu.Unlock()
	return o.Advance(ctx, stage)
}

// Turn has the operation be of another kind from the next stage on: who began to make
// something goes on to give it back.
func (o *Op) Turn(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Kind = kind
}

func (o *Op) advance(stage string) (kind string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text
	text.Stage, text.Prior = stage, nil
	if o.prior != nil {
		text.Kind = o.prior.Kind
	}
	if err := o.write(text); err != nil {
		return "", err
	}
	o.step(false)
	return text.Kind, nil
}

// Partial says, for after a power loss too, that the object will not be whole any
// more: what it stands for is about to be removed, and then its record. It is not
// synced: where a removal is on the disk, what was done before it is, too. A file
// system that is full goes without.
func (o *Op) Partial() {
	_ = mark(o.l.rootDir(o.id))
}

// SetDeadline writes down when the operation is to be over, for others to
// read.
func (o *Op) SetDeadline(t time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text
	text.Deadline = t
	return o.write(text)
}

// write replaces the op file's text by one write; o.mu is held.
func (o *Op) write(text opFile) error {
	if o.fd < 0 {
		return o.l.wrap(o.id, "writing an operation that has ended", os.ErrClosed)
	}
	data, err := encode(text)
	if err != nil {
		return err
	}
	size := len(data)
	if size < o.size {
		data = append(data, bytes.Repeat([]byte{'\n'}, o.size-size)...)
	}
	if _, err := unix.Pwrite(o.fd, data, 0); err != nil {
		return o.l.wrap(o.id, "writing operation", err)
	}
	o.text, o.size = text, len(data)
	return nil
}

// reserve keeps a page for the text of the next operation, for an object on a
// full file system to be stopped and removed all the same. A file system that
// cannot do that goes without.
func (o *Op) reserve() {
	_ = unix.Fallocate(o.fd, unix.FALLOC_FL_KEEP_SIZE, 0, pageSize)
}

// End clears the operation and unlocks the object. It may be repeated. On a
// record that is not whole, half created or half removed, it unlocks only:
// the operation stays written, for Dead to find; so does the creation of a record
// that could not be made durable, with an error.
func (o *Op) End() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd < 0 {
		return nil
	}
	var err error
	if !o.l.half(o.id, o.text.Fresh) {
		err = failpoint.ReachOf(ended{}, o.l.noun(), failpoint.RecordEnd)
		if err == nil && o.text.Fresh {
			err = o.l.finished(o.id)
		}
		if err == nil {
			err = unix.Ftruncate(o.fd, 0)
		}
		if err != nil {
			err = o.l.wrap(o.id, "clearing operation", err)
		}
		o.reserve()
	}
	o.close()
	return err
}

// Abandon unlocks the object and leaves the operation written, as the
// death of its owner would: for what could not be undone now and is to be
// retried by whoever finds it with Dead. It may be repeated.
func (o *Op) Abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd >= 0 {
		o.close()
	}
}

func (o *Op) close() {
	unlock(o.fd)
	o.fd = -1
	o.step(true)
}

// half says whether a record that somebody has locked is not whole: its
// config.json is gone or empty, or it is fresh and has no status.
func (l objects) half(id string, fresh bool) bool {
	var st unix.Stat_t
	if unix.Lstat(l.configPath(id), &st) != nil || st.Size == 0 {
		return true
	}
	return fresh && !exists(l.statusPath(id))
}

// Begin starts an operation on the object. While another one is under way it
// waits, until ctx ends or its owner has been stopped for a while (see [Patience]):
// then it returns a [*BusyError] that says who it is.
// An object that is not there is ErrNotFound. See [Op.Prior] for what a dead
// owner has left.
func (d *Dir[C, S]) Begin(ctx context.Context, id, kind string) (*Op, error) {
	trace := traceOf(ctx)
	trace(Step{Noun: d.l.noun(), ID: id, Kind: kind, Stage: StageLock})
	var waited error
	op, err := d.l.begin(id, kind, func(fd int) error {
		waited = waitLock(ctx, fd, unix.LOCK_EX, d.l.opPath(id))
		return waited
	})
	if err == nil {
		op.follow(trace)
		return op, nil
	}
	trace(Step{Noun: d.l.noun(), ID: id, Kind: kind, Stage: StageLock, Over: true})
	var busy *BusyError
	if errors.As(err, &busy) {
		busy = busy.because(ctx, waited)
	}
	return nil, err
}

// TryBegin is Begin for those who do not wait: a [*BusyError] comes at once.
func (d *Dir[C, S]) TryBegin(id, kind string) (*Op, error) {
	return d.l.begin(id, kind, func(fd int) error {
		for pause := pauseMin; ; pause *= 2 {
			err := tryLock(fd, unix.LOCK_EX)
			if !errors.Is(err, errLocked) {
				return err
			}
			// Dead shares the lock for an instant, to see whether it can; who is
			// kept from going on meanwhile, by the scheduler, still lets it go.
			if tryLock(fd, unix.LOCK_SH) != nil || pause > lookTime {
				return errLocked
			}
			_ = unix.Flock(fd, unix.LOCK_UN)
			time.Sleep(pause)
		}
	})
}

func (l objects) begin(id, kind string, lock func(fd int) error) (*Op, error) {
	if err := l.checkID(id); err != nil {
		return nil, err
	}
	if kind == "" || len(kind) > maxText {
		return nil, invalidf("operation kind %q", kind)
	}
	for {
		fd, err := l.openOp(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile: openOp ends this when the record is gone too
		}
		if err != nil {
			return nil, err
		}
		if err := lock(fd); err != nil {
			return nil, l.lockError(id, fd, err)
		}
		if !linked(fd) {
			unlock(fd)
			continue
		}
		op, err := l.begun(id, kind, fd)
		if err == nil && !linked(fd) { // we made this file, and a Create has put its own there
			unlock(fd)
			continue
		}
		return op, err
	}
}

// openOp opens the op file, and makes it for a record that was lost in a
// reboot. It returns fs.ErrNotExist to be called again.
func (l objects) openOp(id string) (int, error) {
	fd, err := open(l.opPath(id), unix.O_RDWR|unix.O_NOFOLLOW)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	if !exists(l.rootDir(id)) {
		return -1, l.notFound(id)
	}
	if err := l.makeRunDir(id); err != nil {
		return -1, err
	}
	return open(l.opPath(id), unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW)
}

func (l objects) lockError(id string, fd int, err error) error {
	defer unix.Close(fd)
	if !errors.Is(err, errLocked) {
		return l.wrap(id, "locking", err)
	}
	busy := &BusyError{ID: id}
	if text, err := readOpFd(fd, l.opPath(id)); err == nil && text != nil {
		busy.Holder = text.Holder
	}
	return busy
}

// begun makes the Op of a lock that was just taken.
func (l objects) begun(id, kind string, fd int) (*Op, error) {
	o := &Op{l: l, id: id, fd: fd}
	found, err := readOpFd(fd, l.opPath(id))
	if err != nil {
		unlock(fd)
		return nil, err
	}
	switch {
	case found != nil:
		o.prior = &found.Holder
		if found.Prior != nil {
			o.prior = found.Prior
		}
		o.text.Fresh = found.Fresh
	case !exists(l.rootDir(id)):
		// A Remove overtook us, and we made this file anew.
		unlock(fd)
		sweeper{l}.sweep(never{}, id)
		return nil, l.notFound(id)
	case l.half(id, false) || l.loser(id):
		o.prior = &Holder{Kind: KindCreate}
		o.text.Fresh = true
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil {
		o.size = int(st.Size)
	}
	o.reserve()
	o.text.Version = Version
	o.text.Prior = o.prior
	o.text.Holder = l.holder(kind)
	if err := o.write(o.text); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (l objects) holder(kind string) Holder {
	self := l.self()
	return Holder{Kind: kind, Pid: self.Pid, PidStart: self.Start, Since: l.now()}
}

// readOp reads the op file of an object; nil when no operation is written.
func (l objects) readOp(id string) (*opFile, error) {
	var st unix.Stat_t
	path := l.opPath(id)
	if unix.Lstat(path, &st) != nil || st.Size == 0 {
		return nil, nil
	}
	fd, err := open(path, unix.O_RDONLY|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readOpFd(fd, path)
}

// readOpFd reads until two readings agree: an op file is written in place, and
// its readers take no lock.
func readOpFd(fd int, path string) (*opFile, error) {
	data, err := readFd(fd, make([]byte, pageSize))
	for range 10 {
		if err != nil {
			return nil, &fs.PathError{Op: "reading", Path: path, Err: err}
		}
		var again []byte
		again, err = readFd(fd, make([]byte, pageSize))
		if err == nil && bytes.Equal(data, again) {
			break
		}
		data = again
	}
	if len(data) == 0 {
		return nil, nil
	}
	f := &opFile{}
	err = decode(path, data, f)
	if errors.Is(err, ErrCorrupt) {
		return &opFile{Version: Version, Holder: Holder{Kind: KindUnknown}}, nil
	}
	return f, err
}
