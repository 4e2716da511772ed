package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Make makes the log file path, readable by root alone, unless it is there.
// Neither it nor what leads to it from dir may be a symbolic link, which is
// ErrInvalidArgument, as is what is no regular file. Folders that are missing
// are made. An empty dir is the folder of path, which must be there.
func Make(dir, path string) error {
	if dir == "" {
		dir = filepath.Dir(path)
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	at, name, err := folder(dir, path)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(at) }()
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: refusedLink(err)}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s is no regular file: %w", path, errdefs.ErrInvalidArgument)
	}
	return nil
}

// draft is what conmon appends to a log's path for the file that it opens when it
// is to go on in a new one, and renames then.
const draft = ".tmp"

// MakeFolder makes the folder of the log file path below dir as Make does, for
// conmon to open a new log there. A symbolic link that is in the place of that, or
// of conmon's draft of it, is removed: conmon would follow it.
func MakeFolder(dir, path string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, name, err := folder(dir, path)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	for _, name := range []string{name, name + draft} {
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			err = unix.Unlinkat(fd, name, 0)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "remove", Path: filepath.Join(filepath.Dir(path), name), Err: err}
		}
	}
	return nil
}

// DropEmpty removes the log file path that Make made below dir, if nothing was
// written to it: the kubelet numbers its attempts by the logs that it finds. An
// empty dir, and a file that is not there, are no error.
func DropEmpty(dir, path string) error {
	if _, err := os.Lstat(path); dir == "" || err != nil {
		return nil
	}
	at, name, err := folder(dir, path)
	if err != nil {
		return nil // none was made there
	}
	defer func() { _ = unix.Close(at) }()
	var st unix.Stat_t
	err = unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
		err = unix.Unlinkat(at, name, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// folder opens the folder of a file below dir, making what is missing. Beyond dir
// itself no symbolic link is followed.
func folder(dir, path string) (fd int, name string, err error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return -1, "", fmt.Errorf("it is not below %s: %w", dir, errdefs.ErrInvalidArgument)
	}
	parts := strings.Split(rel, "/")
	fd, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	for _, part := range parts[:len(parts)-1] {
		next := -1
		if err = unix.Mkdirat(fd, part, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
			next, err = unix.Openat(fd, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
		_ = unix.Close(fd)
		if err != nil {
			return -1, "", refusedLink(err)
		}
		fd = next
	}
	return fd, parts[len(parts)-1], nil
}

// refusedLink explains what open(2) says of a symbolic link that it is not to
// follow, and of a fifo that nobody reads.
func refusedLink(err error) error {
	if errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("%w (it is no regular file): %w", err, errdefs.ErrInvalidArgument)
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w (symbolic links are not followed there): %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}
