package record

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// Version is the version of every JSON file that this package writes. Older
// versions are read, newer ones refused with a [VersionError].
const Version = 1

// Owner says which face of davit made an object. It never changes.
type Owner string

// The owners there are.
const (
	OwnerCLI Owner = "cli" // made on the command line
	OwnerCRI Owner = "cri" // made by the kubelet
)

// Paths are davit's two roots, as absolute paths.
type Paths struct {
	Root    string // durable, /var/lib/davit
	RunRoot string // gone or emptied at a reboot, /run/davit
}

// Options say which records a [Dir] keeps.
type Options struct {
	Paths
	Kind string           // the folder's name, a plural: "pods" or "containers"
	Log  *slog.Logger     // nil discards
	Now  func() time.Time // nil is time.Now
}

// Meta is what is known of every object, whatever its kind.
type Meta struct {
	ID    string `json:"id"`
	Owner Owner  `json:"owner"`
	// Key is unique among the objects of one owner and kind; "" claims
	// nothing. It is the name of an object made on the command line. An
	// entry that was read carries the key given last, by Create or Rename.
	Key string `json:"key,omitempty"`
	// Created is filled by Create when it is zero.
	Created time.Time `json:"created"`
	// MountNS is the inode of the mount namespace of the engine that wrote
	// the first status of this boot; "" when there is none (see
	// [Entry.Lost]). Create fills it, whatever the caller put there.
	MountNS string `json:"-"`
}

// Entry is one object as it was read: all of it a copy.
type Entry[C, S any] struct {
	Meta
	Config C // as it was created
	Status S // as it was updated last
	// Number counts the updates of Status. It only grows while the object
	// lives in this boot, so of two entries the greater one is the later.
	Number uint64
	// Lost says that the run root keeps no status: the machine rebooted
	// since. Status is the zero S and Number 0.
	Lost bool
	// Damaged is why a status that is there cannot be read, else nil.
	// Status is the zero S: what runs must be found by other evidence.
	Damaged error
	// Op is the operation written down, under way or dead; nil for none.
	Op *Holder
}

// Holder is an operation as it is written down in the object's op file. The
// process is there for messages: only the lock proves that its owner lives.
type Holder struct {
	Kind     string    `json:"kind"`  // "create", "start", "stop", …
	Stage    string    `json:"stage"` // the last one that Advance wrote
	Pid      int       `json:"pid"`
	PidStart uint64    `json:"pidStart"` // see [Process]
	Since    time.Time `json:"since"`
	Deadline time.Time `json:"deadline,omitzero"`
}

// Operation kinds that this package writes by itself.
const (
	// KindCreate is the kind of the operation of [Dir.Create]; also the prior
	// operation of a record that is not whole and has none written.
	KindCreate = "create"
	// KindUnknown stands for an operation whose text cannot be read.
	KindUnknown = "unknown"
)

// Dir keeps the records of one kind of object: C is its immutable
// configuration, S its status, both plain values that survive a round trip
// through JSON. All methods may be called concurrently, by any number of
// goroutines and processes. A Dir holds no state but paths, unless it is to
// (see Keep).
type Dir[C, S any] struct{ reader[C, S] }

// reader is the part of a Dir that reads.
type reader[C, S any] struct {
	l    objects
	kept atomic.Pointer[kept[C, S]] // nil unless Keep was called
}

// Open makes the folders that are missing and returns the Dir. Call
// [EnsureBoot] first. It reads no record. On a read-only root it succeeds, so
// that reading works.
func Open[C, S any](o Options) (*Dir[C, S], error) {
	l, err := newLayout(o)
	if err != nil {
		return nil, err
	}
	if err := l.makeFolders(); err != nil && !errors.Is(err, unix.EROFS) {
		return nil, err
	}
	return &Dir[C, S]{reader[C, S]{l: objects{claims{l}}}}, nil
}

// RunDir is the object's folder in the run root: mode 0700, made by Create,
// emptied at a reboot, made again by Begin and Update. The file "op" in it
// belongs to this package.
func (d *Dir[C, S]) RunDir(id string) string { return d.l.runDir(id) }

// RootDir is the object's durable folder: mode 0700, from Create to Remove.
// The files config.json and key.json in it belong to this package.
func (d *Dir[C, S]) RootDir(id string) string { return d.l.rootDir(id) }

// PutFile replaces the JSON file name in the object's durable folder by v,
// atomically; durable syncs it. What was not synced may be lost with the power,
// and GetFile then finds what was there before. Reserved names, paths and values of
// 16 MiB as JSON are ErrInvalidArgument, an object that is not there is ErrNotFound. Who writes a file
// from what it read holds the object's operation.
func (d *Dir[C, S]) PutFile(id, name string, v any, durable bool) error {
	path, err := d.l.filePath(id, name)
	if err != nil {
		return err
	}
	data, err := encode(extraFile{Version: Version, Value: v})
	if err != nil {
		return d.l.wrap(id, "encoding "+name, err)
	}
	if !durable {
		keepLast(path)
	}
	err = d.l.writeAtomic(path, data, WriteOptions{Sync: durable})
	if !durable && errors.Is(err, unix.ENOSPC) {
		err = overwrite(path, data, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return d.l.notFound(id)
	}
	return err
}

// GetFile reads what PutFile wrote into the value that v points to. It
// returns ErrNotFound when there is no such file, [ErrCorrupt] when it cannot
// be read.
func (d *Dir[C, S]) GetFile(id, name string, v any) error {
	path, err := d.l.filePath(id, name)
	if err != nil {
		return err
	}
	err = getFile(path, v)
	if errors.Is(err, fs.ErrNotExist) {
		return notFoundf("%s of %s %q", name, d.l.noun(), id)
	}
	if errors.Is(err, ErrCorrupt) && getFile(lastOf(path), v) == nil {
		return nil
	}
	return err
}

func getFile(path string, v any) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	return decode(path, data, &extraFile{Value: v})
}

// lastOf is where keepLast keeps what a file was before.
func lastOf(path string) string {
	dir, name := filepath.Split(path)
	return dir + "." + name + ".last"
}

// keepLast has another name for a file that is about to be replaced by one that is
// not synced: a loss of power can leave that one empty, or full of zeros. It does
// what it can.
func keepLast(path string) {
	last := lastOf(path)
	if data, err := readFile(path); err != nil || decode(path, data, &extraFile{}) != nil {
		return // what is kept is better
	}
	_ = unix.Unlink(last)
	_ = unix.Link(path, last)
}

// Update replaces the object's status by what f makes of it, and returns the
// new one. It is atomic among all processes; f runs under the object's status
// lock, so it computes and does nothing else, and must not call back into the
// Dir. When f returns an error nothing is written and Update returns that
// error; a status of 16 MiB as JSON is ErrInvalidArgument, and the old one stays. A status that was lost or is damaged is the zero S for f.
//
// An object that is not there, or went while Update waited, is ErrNotFound.
// When ctx ends before the lock is had: a [*BusyError].
func (d *Dir[C, S]) Update(ctx context.Context, id string, f func(S) (S, error)) (S, error) {
	st, err := d.update(ctx, id, f)
	if err != nil {
		var zero S
		return zero, err
	}
	if k := d.kept.Load(); k != nil {
		k.updated(id, st)
	}
	return st.Status, nil
}

func (d *Dir[C, S]) update(ctx context.Context, id string, f func(S) (S, error)) (statusFile[S], error) {
	var zero statusFile[S]
	lock, err := d.l.lockStatus(ctx, id)
	if err != nil {
		return zero, err
	}
	defer lock.release()
	old, err := d.readStatus(id, make([]byte, pageSize))
	var newer *VersionError
	if errors.As(err, &newer) {
		return zero, err
	}
	if err != nil {
		old = d.freshStatus(id)
	}
	s, err := f(old.Status)
	if err != nil {
		return zero, err
	}
	old.Status = s
	old.Number++
	err = failpoint.ReachOf(ctx, d.l.noun(), failpoint.RecordUpdate)
	if err == nil {
		err = d.writeStatus(id, old)
	}
	if err != nil {
		return zero, d.l.wrap(id, "writing status", err)
	}
	return old, nil
}

// freshStatus is what Update starts from when a status is lost or damaged. No
// count of updates reaches a clock's nanoseconds, so the number still grows.
func (d *Dir[C, S]) freshStatus(id string) statusFile[S] {
	_, err := os.Lstat(d.l.keyPath(id))
	return statusFile[S]{
		Version: Version,
		Number:  uint64(d.l.now().UnixNano()),
		Renamed: err == nil,
		MountNS: currentMountNS(),
	}
}

func (d *reader[C, S]) readStatus(id string, buf []byte) (statusFile[S], error) {
	path := d.l.statusPath(id)
	var last []byte
	for {
		var st statusFile[S]
		data, err := readFileTo(path, buf)
		if err != nil {
			return st, err
		}
		err = decode(path, data, &st)
		if !errors.Is(err, ErrCorrupt) || last != nil && bytes.Equal(data, last) {
			return st, err
		}
		last = bytes.Clone(data) // it may have been read while it was overwritten
	}
}

func (d *Dir[C, S]) writeStatus(id string, st statusFile[S]) error {
	data, err := encode(st)
	if err != nil {
		return err
	}
	return d.l.replaceStatus(id, data)
}
