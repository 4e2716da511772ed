package reserve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// A reserve is so many files of some bytes, since inodes may be what is missing.
const (
	folder = "davit-reserve"
	count  = 8
	// The records of all layers, and some more, are written into the one; the notes of
	// what is mounted into the other, which is memory: some two hundred bytes for each.
	graphSize = 128 << 10
	runSize   = 32 << 10
)

// Rooms are the roots of a store, each with its reserve. Those that other processes
// have of the same store are the same.
type Rooms []room

// room is a root.
type room struct {
	root string
	size int64 // of each file
}

// Of are the Rooms of a store.
func Of(graphRoot, runRoot string) Rooms {
	return Rooms{{runRoot, runSize}, {graphRoot, graphSize}}
}

// Keep makes the reserves where there are none. It does what it can: a file system
// may be full, or unable to allocate.
func (rooms Rooms) Keep() {
	for _, r := range rooms {
		if !r.has() {
			r.keep()
		}
	}
}

// Use gives the reserves up for as long as f needs them, where f fails because a file
// system is full: all of them, since the library goes on, the second time, from where
// it failed, and must not fail again. Who finds them given up waits until they are back:
// the caller holds no lock that another's f may wait for.
func (rooms Rooms) Use(f func() error) error {
	err := f()
	if !IsFull(err) {
		return err
	}
	for _, r := range rooms {
		giveBack, gerr := r.giveUp()
		if gerr != nil {
			return errors.Join(err, fmt.Errorf("giving up the reserve of %s: %w", r.root, gerr))
		}
		defer giveBack()
	}
	return f()
}

// giveUp removes a reserve, until what it returns is called.
func (r room) giveUp() (giveBack func(), err error) {
	lock, err := os.Open(r.root)
	if err != nil {
		return nil, err
	}
	if err = record.Lock(lock, "the reserve"); err == nil {
		err = os.RemoveAll(filepath.Join(r.root, folder))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() {
		r.keep()
		_ = lock.Close()
	}, nil
}

// keep makes what is missing of a reserve.
func (r room) keep() {
	dir := filepath.Join(r.root, folder)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return
	}
	for i := range count {
		if !keepFile(filepath.Join(dir, fmt.Sprint(i)), r.size) {
			return
		}
	}
}

func keepFile(path string, size int64) bool {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrExist) {
		return true
	}
	if err != nil {
		return false
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		_ = os.Remove(path)
		return false
	}
	return true
}

// has says whether there is a reserve, whole or not.
func (r room) has() bool {
	_, err := os.Lstat(filepath.Join(r.root, folder))
	return err == nil
}

// IsFull says whether an error is that a file system has no byte or inode left, or
// lets its user have no more. What comes from a child of the library is text.
func IsFull(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(text, unix.ENOSPC.Error()) || strings.Contains(text, unix.EDQUOT.Error())
}
