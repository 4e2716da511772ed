package reserve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The reserve: so many files of so many bytes, since inodes may be what is missing.
const (
	folder = "davit-reserve"
	count  = 8
	size   = 128 << 10
)

// Keep makes what is missing of the reserve in a store's root. It does what it can:
// a file system may be full, or unable to allocate.
func Keep(root string) {
	dir := filepath.Join(root, folder)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return
	}
	for i := range count {
		if !keepFile(filepath.Join(dir, fmt.Sprint(i))) {
			return
		}
	}
}

func keepFile(path string) bool {
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

// Has says whether there is a reserve, whole or not.
func Has(root string) bool {
	_, err := os.Lstat(filepath.Join(root, folder))
	return err == nil
}

// Use gives the reserve up for as long as f needs it, where f fails because the
// store is full.
func Use(root string, f func() error) error {
	err := f()
	if !IsFull(err) || !Has(root) {
		return err
	}
	if rerr := os.RemoveAll(filepath.Join(root, folder)); rerr != nil {
		return errors.Join(err, rerr)
	}
	defer Keep(root)
	return f()
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
