package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// maxDepth bounds the folders of one entry's name.
const maxDepth = 1000

// UnpackOptions say how entries are made.
type UnpackOptions struct {
	// KeepOwner gives entries the owners of the stream; else they are UID's and
	// GID's.
	KeepOwner bool
	UID, GID  int
	// NoOverwriteKind refuses to replace a folder by a file and the other way
	// round.
	NoOverwriteKind bool
}

// Unpack makes the entries of a tar stream below an existing folder. Names that
// are absolute or lead upwards are taken as below the folder; devices are
// refused. ErrNotFound if the folder is not there.
func (r *Root) Unpack(ctx context.Context, folder string, in io.Reader, o UnpackOptions) error {
	return r.do(func() error {
		base, err := filepath.EvalSymlinks(path.Clean("/" + folder))
		if err != nil {
			return classify(folder, err)
		}
		if fi, err := os.Stat(base); err != nil || !fi.IsDir() {
			return fmt.Errorf("%q is not a folder: %w", folder, errdefs.ErrInvalidArgument)
		}
		u := unpacker{base: base, o: o, in: tar.NewReader(in)}
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			h, err := u.in.Next()
			if errors.Is(err, io.EOF) {
				return u.finish()
			}
			if err != nil {
				return fmt.Errorf("reading tar stream: %w", err)
			}
			if err := u.entry(h); err != nil {
				return fmt.Errorf("unpacking %q: %w", h.Name, err)
			}
		}
	})
}

type unpacker struct {
	base string
	o    UnpackOptions
	in   *tar.Reader
	dirs []*tar.Header // whose times are set at the end
}

// path is where an entry goes: always below the base, as far as names can tell;
// that links do not lead out of the root is the thread's root's doing.
func (u *unpacker) path(name string) (string, error) {
	clean := path.Clean("/" + name)
	if strings.Count(clean, "/") > maxDepth {
		return "", fmt.Errorf("more than %d folders deep: %w", maxDepth, errdefs.ErrInvalidArgument)
	}
	return filepath.Join(u.base, clean), nil
}

func (u *unpacker) entry(h *tar.Header) error {
	file, err := u.path(h.Name)
	if err != nil || file == u.base {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := u.clear(file, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(file, mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		u.dirs = append(u.dirs, h)
	case tar.TypeReg:
		if err := u.regular(file, mode.Perm()); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := os.Symlink(h.Linkname, file); err != nil {
			return err
		}
	case tar.TypeLink:
		target, err := u.path(h.Linkname)
		if err != nil {
			return err
		}
		return os.Link(target, file)
	case tar.TypeFifo:
		if err := unix.Mkfifo(file, uint32(mode.Perm())); err != nil {
			return err
		}
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("entry of type %q is not copied: %w", h.Typeflag, errdefs.ErrInvalidArgument)
	}
	return u.attributes(file, h)
}

// clear makes way for an entry. A folder stays where a folder comes.
func (u *unpacker) clear(file string, folder bool) error {
	fi, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.IsDir() {
		if folder {
			return nil
		}
		return fmt.Errorf("a folder is in the way: %w", errdefs.ErrFailedPrecondition)
	}
	if folder && u.o.NoOverwriteKind {
		return fmt.Errorf("a file is in the way: %w", errdefs.ErrFailedPrecondition)
	}
	return os.Remove(file)
}

func (u *unpacker) regular(file string, perm fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, u.in)
	return errors.Join(err, f.Close())
}

// attributes sets owner, mode and times, of the entry itself and never of what a
// link names.
func (u *unpacker) attributes(file string, h *tar.Header) error {
	uid, gid := u.o.UID, u.o.GID
	if u.o.KeepOwner {
		uid, gid = h.Uid, h.Gid
	}
	if err := os.Lchown(file, uid, gid); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	if err := unix.Chmod(file, syscallMode(h.FileInfo().Mode())); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg {
		return os.Chtimes(file, h.AccessTime, h.ModTime)
	}
	return nil
}

// finish sets the times of folders, which making their entries has changed.
func (u *unpacker) finish() error {
	for _, h := range u.dirs {
		file, err := u.path(h.Name)
		if err != nil {
			return err
		}
		if err := os.Chtimes(file, h.AccessTime, h.ModTime); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syscallMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		out |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		out |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		out |= unix.S_ISVTX
	}
	return out
}
