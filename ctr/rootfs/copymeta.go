package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// copyFile copies a regular file; the source is looked at again once it is
// open.
func copyFile(from, to int, name string) error {
	in, err := openAt(from, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return wrapPath("looking at", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%q changed while it was copied: %w", name, errdefs.ErrFailedPrecondition)
	}
	out, err := openAt(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer out.Close()
	// A clone shares the blocks where the file system can.
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return wrapPath("copying", name, err)
		}
	}
	if err := copyMeta(in, out, &st); err != nil {
		return err
	}
	return out.Close()
}

// copyMeta gives dst what src is: owner first, since a change of owner takes
// set-user-ID bits and capabilities away.
func copyMeta(src, dst *os.File, st *unix.Stat_t) error {
	fd := int(dst.Fd())
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return wrapPath("chown", dst.Name(), err)
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return wrapPath("chmod", dst.Name(), err)
	}
	if err := copyAttributes(int(src.Fd()), fd); err != nil {
		return wrapPath("copying attributes of", dst.Name(), err)
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return wrapPath("setting times of", dst.Name(), unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH))
}

func copyAttributes(src, dst int) error {
	names, err := readAttribute(func(buf []byte) (int, error) { return unix.Flistxattr(src, buf) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for raw := range bytes.SplitSeq(names, []byte{0}) {
		name := string(raw)
		if name == "" || name == "security.selinux" || strings.HasPrefix(name, "trusted.") {
			continue
		}
		value, err := readAttribute(func(buf []byte) (int, error) { return unix.Fgetxattr(src, name, buf) })
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(dst, name, value, 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

// readAttribute reads with a buffer as large as the kernel says, up to the
// 64 KiB that an attribute can have.
func readAttribute(read func([]byte) (int, error)) ([]byte, error) {
	size, err := read(nil)
	if err != nil || size == 0 {
		return nil, err
	}
	buf := make([]byte, size)
	n, err := read(buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

func copyLink(from, to int, name string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(from, name, buf)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(buf[:n]), to, name); err != nil {
		return err
	}
	return finishAt(to, name, st)
}

func copyFifo(to int, name string, st *unix.Stat_t) error {
	if err := unix.Mknodat(to, name, unix.S_IFIFO|0o600, 0); err != nil {
		return err
	}
	if err := finishAt(to, name, st); err != nil {
		return err
	}
	return unix.Fchmodat(to, name, st.Mode&0o7777, 0)
}

// finishAt sets owner and times of what is not opened.
func finishAt(to int, name string, st *unix.Stat_t) error {
	if err := unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
