package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// maxDepth bounds the directories within directories that are copied.
const maxDepth = 1000

// CopyUp fills an empty directory of the host, a volume's at its first use,
// with what the image has in the directory name within root: modes, owners,
// times, hard links, fifos and extended attributes are kept, and the directory
// itself gets those of the image's. Devices and sockets are left out, as are
// the attributes security.selinux and trusted.*.
//
// The directory is replaced whole by rename(2): a crash leaves it empty or
// full (one that is a mount point is filled in place), and maybe a directory beside
// it whose name begins with a dot, which is the caller's to remove. It does nothing when
// the directory is not empty. ErrNotFound if the image has nothing there,
// ErrInvalidArgument if it has something other than a directory.
func CopyUp(ctx context.Context, root, name, dest string) error {
	if err := copyUp(ctx, root, name, dest); err != nil {
		return fmt.Errorf("copying %q of the image: %w", name, err)
	}
	return nil
}

func copyUp(ctx context.Context, root, name, dest string) error {
	handle, err := findIn(root, name)
	if err != nil {
		return classed(err)
	}
	defer handle.Close()
	src, err := reopen(handle, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("not a directory: %w", errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return err
	}
	defer src.Close()
	if empty, err := isEmpty(dest); err != nil || !empty {
		return err
	}
	parent := filepath.Dir(dest)
	mounted, err := isMount(dest, parent)
	if err != nil {
		return err
	}
	if mounted {
		return copyInto(ctx, src, dest)
	}
	tmp, err := os.MkdirTemp(parent, ".copyup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := copyInto(ctx, src, tmp); err != nil {
		return err
	}
	// Fails when somebody else has filled it meanwhile: theirs stays.
	if err := unix.Rename(tmp, dest); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("putting %q in place: %w", dest, err)
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

func isMount(dir, parent string) (bool, error) {
	var a, b unix.Statx_t
	for _, p := range []struct {
		path string
		st   *unix.Statx_t
	}{{dir, &a}, {parent, &b}} {
		if err := unix.Statx(unix.AT_FDCWD, p.path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, p.st); err != nil {
			return false, fmt.Errorf("looking at %q: %w", p.path, err)
		}
	}
	return a.Mnt_id != b.Mnt_id, nil
}

func copyInto(ctx context.Context, src *os.File, dest string) error {
	dst, err := os.OpenFile(dest, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	t := &tree{top: int(dst.Fd()), links: make(map[inode]string)}
	return t.dir(ctx, src, dst, "")
}

type inode struct{ dev, ino uint64 }

// tree copies a directory tree by handles, never by a path of the source's.
type tree struct {
	top   int // the copy's uppermost directory
	links map[inode]string
	depth int
}

// dir copies src's entries, then what src itself is, into dst; rel is dst's
// path below the top.
func (t *tree) dir(ctx context.Context, src, dst *os.File, rel string) error {
	if t.depth++; t.depth > maxDepth {
		return fmt.Errorf("%q is more than %d directories deep: %w", rel, maxDepth, errdefs.ErrInvalidArgument)
	}
	defer func() { t.depth-- }()
	for {
		names, err := src.Readdirnames(256)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := t.entry(ctx, src, dst, filepath.Join(rel, name)); err != nil {
				return err
			}
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return err
	}
	return copyMeta(src, dst, &st)
}

// entry copies one entry; rel is its path below the top.
func (t *tree) entry(ctx context.Context, src, dst *os.File, rel string) error {
	name, from, to := filepath.Base(rel), int(src.Fd()), int(dst.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "looking at", Path: rel, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		id := inode{uint64(st.Dev), st.Ino}
		if first, ok := t.links[id]; ok {
			return wrapPath("linking", rel, unix.Linkat(t.top, first, to, name, 0))
		}
		t.links[id] = rel
	}
	switch kind {
	case unix.S_IFDIR:
		return t.subdir(ctx, src, dst, rel)
	case unix.S_IFREG:
		return copyFile(from, to, name)
	case unix.S_IFLNK:
		return wrapPath("copying", rel, copyLink(from, to, name, &st))
	case unix.S_IFIFO:
		return wrapPath("making", rel, copyFifo(to, name, &st))
	}
	return nil
}

func (t *tree) subdir(ctx context.Context, src, dst *os.File, rel string) error {
	name := filepath.Base(rel)
	if err := unix.Mkdirat(int(dst.Fd()), name, 0o700); err != nil {
		return wrapPath("making", rel, err)
	}
	in, err := openAt(int(src.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := openAt(int(dst.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer out.Close()
	return t.dir(ctx, in, out, rel)
}

func openAt(dir int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, wrapPath("opening", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func wrapPath(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}
