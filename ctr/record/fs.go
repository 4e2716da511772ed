package record

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	maxFile  = 16 << 20 // bounds what is written and read of one file
	pageSize = 4096     // what records seldom exceed
)

// WriteOptions say how [WriteAtomic] writes.
type WriteOptions struct {
	Mode fs.FileMode // 0 is 0600; the umask does not apply
	// Sync makes the new content durable before the function returns: the
	// file is synced before the rename and its folder after it.
	Sync bool
}

// WriteAtomic replaces the file path by data: a reader sees the old content
// or the new, whole. The folder must be there. A process killed meanwhile may
// leave a file ".<name>.<random>.tmp" beside it.
func WriteAtomic(path string, data []byte, o WriteOptions) error {
	return writeAtomic(path, data, o, fsync)
}

func (l *layout) writeAtomic(path string, data []byte, o WriteOptions) error {
	return writeAtomic(path, data, o, l.fsync)
}

func writeAtomic(path string, data []byte, o WriteOptions, sync func(int) error) error {
	dir, name := filepath.Split(path)
	draft := dir + "." + name + "." + rand.Text()[:12] + draftSuffix
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	fd, err := writeDraft(draft, data, unix.O_EXCL)
	if err != nil {
		return err
	}
	if o.Mode != 0o600 {
		err = unix.Fchmod(fd, uint32(o.Mode.Perm()))
	}
	if err == nil && o.Sync {
		err = sync(fd)
	}
	unix.Close(fd)
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return errors.Join(&fs.PathError{Op: "writing", Path: path, Err: underlying(err)}, removeFile(draft))
	}
	if o.Sync {
		return syncDir(dir, sync)
	}
	return nil
}

// writeDraft makes the file path with data in it and returns its descriptor.
// On an error there is no file.
func writeDraft(path string, data []byte, flags int) (int, error) {
	fd, err := open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|flags)
	if err != nil {
		return -1, err
	}
	if err := writeAll(fd, data); err != nil {
		unix.Close(fd)
		return -1, errors.Join(&fs.PathError{Op: "writing", Path: path, Err: err}, removeFile(path))
	}
	return fd, nil
}

// overwrite replaces a small file on a full file system, for what runs there to be
// stopped all the same: it writes over the pages that the file has, in one write,
// or returns the error that it is given. The new time tells watchers.
func overwrite(path string, data []byte, full error) error {
	fd, err := open(path, unix.O_WRONLY|unix.O_NOFOLLOW)
	if err != nil {
		return full
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || len(data) > pageSize || st.Size == 0 {
		return full
	}
	data = append(data, bytes.Repeat([]byte{'\n'}, max(0, int(st.Size)-len(data)))...)
	if _, err := unix.Pwrite(fd, data, 0); err != nil {
		return full
	}
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, now, 0)
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// open opens with mode 0600 for a new file, never across an exec, and without
// the runtime's poller, whose system calls cost more than reading a record.
func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return -1, &fs.PathError{Op: "opening", Path: path, Err: err}
		}
	}
}

// readFile reads a regular file with as few system calls as there can be.
func readFile(path string) ([]byte, error) {
	return readFileTo(path, make([]byte, pageSize))
}

// readFileTo reads it into buf, which is not empty, or a larger one.
func readFileTo(path string, buf []byte) ([]byte, error) {
	fd, err := open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data, err := readFd(fd, buf)
	if err != nil {
		return nil, &fs.PathError{Op: "reading", Path: path, Err: err}
	}
	return data, nil
}

// readFd reads the whole file from its start into buf, or a larger one, without
// moving the offset.
func readFd(fd int, buf []byte) ([]byte, error) {
	n := 0
	for {
		m, err := unix.Pread(fd, buf[n:], int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		}
		n += m
		if n < len(buf) {
			return buf[:n], nil
		}
		if n >= maxFile {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, unix.EFBIG)
		}
		buf = append(buf, make([]byte, len(buf))...)
	}
}

func fsync(fd int) error {
	for {
		err := unix.Fsync(fd)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func syncDir(dir string, sync func(int) error) error {
	fd, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := sync(fd); err != nil {
		return &fs.PathError{Op: "syncing", Path: dir, Err: err}
	}
	return nil
}

// SyncDir makes durable what was made, renamed and removed in a folder.
func SyncDir(dir string) error { return syncDir(dir, fsync) }

// SyncFile makes durable what is in a file.
func SyncFile(path string) error {
	fd, err := open(path, unix.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := fsync(fd); err != nil {
		return &fs.PathError{Op: "syncing", Path: path, Err: err}
	}
	return nil
}

// removeFile removes a file; one that is not there is no error.
func removeFile(path string) error {
	err := unix.Unlink(path)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &fs.PathError{Op: "removing", Path: path, Err: err}
}

// removeDir removes an empty folder; one that is not there is no error.
func removeDir(path string) error {
	err := unix.Rmdir(path)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &fs.PathError{Op: "removing", Path: path, Err: err}
}

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}

// removeContents removes everything in the folder but what keep names. It
// follows no symlink and enters no mount: what is mounted below is left, with
// an ErrFailedPrecondition, and all the rest is removed.
func removeContents(dir string, keep ...string) error {
	fd, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeAt(fd, dir, keep)
}

// removeAt empties the folder behind fd, and closes fd.
func removeAt(fd int, path string, keep []string) error {
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	errs := []error{err}
next:
	for _, e := range entries {
		for _, k := range keep {
			if e.Name() == k {
				continue next
			}
		}
		errs = append(errs, removeEntry(fd, path+"/"+e.Name(), e))
	}
	return errors.Join(errs...)
}

func removeEntry(parent int, path string, e fs.DirEntry) error {
	flags := 0
	if e.IsDir() {
		flags = unix.AT_REMOVEDIR
		// RESOLVE_NO_XDEV stops at bind mounts too, which st_dev does not show.
		fd, err := unix.Openat2(parent, e.Name(), &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
		})
		switch {
		case errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EXDEV):
			return mountedError(path)
		case err != nil:
			return &fs.PathError{Op: "opening", Path: path, Err: err}
		}
		if err := removeAt(fd, path, nil); err != nil {
			return err
		}
	}
	err := unix.Unlinkat(parent, e.Name(), flags)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return mountedError(path)
	}
	return &fs.PathError{Op: "removing", Path: path, Err: err}
}

func mountedError(path string) error {
	return fmt.Errorf("removing %s: something is mounted there: %w", path, errdefs.ErrFailedPrecondition)
}
