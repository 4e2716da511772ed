package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// exposedDir is the mount point in a folder that Expose made.
const exposedDir = "rootfs"

// Expose mounts a root filesystem where the root of a user namespace, whose user
// and group on the host are uid and gid, can reach it, and returns the path:
// below dir, which is made for it alone. The folders on the way to root may so
// stay closed. Dir's parent is made if it is absent; those above must be open
// to all.
func Expose(root, dir string, uid, gid int) (string, error) {
	if err := Hide(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Dir(dir), 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("exposing a root filesystem: %w", err)
	}
	path := filepath.Join(dir, exposedDir)
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.Mkdir(path, 0o700)
	}
	if err == nil {
		err = unix.Mount(root, path, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err == nil { // last: an unmapped user gets no further than here
		err = os.Chown(dir, uid, gid)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("exposing a root filesystem: %w", err), Hide(dir))
	}
	return path, nil
}

// Hide undoes Expose. It is idempotent.
func Hide(dir string) error {
	path := filepath.Join(dir, exposedDir)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not a mount point (any more)
		}
		if err != nil {
			return &fs.PathError{Op: "unmount", Path: path, Err: err}
		}
	}
	for _, p := range []string{path, dir} { // never recursively: it may be somebody's files
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
