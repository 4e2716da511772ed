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
	"time"

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
	// NoSetID takes the set-user-ID and set-group-ID bits off files.
	NoSetID bool
	// Overwrite lets a file take the place of a folder, with all that is in it, and
	// the other way round.
	Overwrite bool
}

// Unpack makes the entries of a tar stream below an existing folder. Names that
// are absolute or lead upwards are taken as below the folder; devices are
// refused, and so is what would be put through a symbolic link of the same stream.
// ErrNotFound if the folder is not there.
func (r *Root) Unpack(ctx context.Context, folder string, in io.Reader, o UnpackOptions) error {
	return r.do(func() error {
		base, err := filepath.EvalSymlinks(path.Clean("/" + folder))
		if err != nil {
			return classify(folder, err)
		}
		if fi, err := os.Stat(base); err != nil || !fi.IsDir() {
			return fmt.Errorf("%q is not a folder: %w", folder, errdefs.ErrInvalidArgument)
		}
		u := unpacker{base: base, o: o, in: tar.NewReader(in), links: map[string]bool{}}
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
	base  string
	o     UnpackOptions
	in    *tar.Reader
	dirs  []*tar.Header   // whose times are set at the end
	links map[string]bool // the symbolic links that the stream has made
}

// path is where an entry goes: always below the base, as far as names can tell.
// That links which are there do not lead out of the root is the thread's root's
// doing; through one of the stream's own, whose author may want it to lead anywhere,
// nothing goes.
func (u *unpacker) path(name string) (string, error) {
	clean := path.Clean("/" + name)
	if strings.Count(clean, "/") > maxDepth {
		return "", fmt.Errorf("more than %d folders deep: %w", maxDepth, errdefs.ErrInvalidArgument)
	}
	file := filepath.Join(u.base, clean)
	for dir := filepath.Dir(file); len(dir) > len(u.base); dir = filepath.Dir(dir) {
		if u.links[dir] {
			return "", fmt.Errorf("it leads through a link of the same stream: %w", errdefs.ErrInvalidArgument)
		}
	}
	return file, nil
}

func (u *unpacker) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	path, err := u.path(h.Name)
	if err != nil || path == u.base {
		return err
	}
	if err := u.enter(filepath.Dir(path)); err != nil {
		return err
	}
	file := filepath.Base(path)
	if err := u.clear(file, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	u.links[path] = h.Typeflag == tar.TypeSymlink
	switch h.Typeflag {
	case tar.TypeDir:
		return u.folder(file, h)
	case tar.TypeReg:
		return u.regular(file, h)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, file)
	case tar.TypeLink:
		return u.link(path, h.Linkname)
	case tar.TypeFifo:
		err = unix.Mkfifo(file, uint32(h.FileInfo().Mode().Perm()))
	default:
		err = fmt.Errorf("entry of type %q is not copied: %w", h.Typeflag, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return err
	}
	uid, gid := u.owner(h)
	return os.Lchown(file, uid, gid)
}

// enter makes a folder the thread's working directory, and makes it where it is
// absent. What follows names files in it without a path, so that they are made there
// whatever is put on the way to it meanwhile.
func (u *unpacker) enter(dir string) error {
	f, err := openFolder(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != u.base {
		if err := u.enter(filepath.Dir(dir)); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Base(dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		f, err = openFolder(dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(unix.Fchdir(int(f.Fd())), f.Close())
}

// link gives an entry of the stream another name.
func (u *unpacker) link(path, name string) error {
	target, err := u.path(name)
	if err != nil {
		return err
	}
	folder, err := openFolder(filepath.Dir(target))
	if err != nil {
		return err
	}
	u.links[path] = u.links[target]
	err = unix.Linkat(int(folder.Fd()), filepath.Base(target), unix.AT_FDCWD, filepath.Base(path), 0)
	return errors.Join(err, folder.Close())
}

// clear makes way for an entry. A folder stays where a folder comes.
func (u *unpacker) clear(file string, folder bool) error {
	fi, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir() && folder:
		return nil
	case fi.IsDir() && !u.o.Overwrite:
		return fmt.Errorf("a folder is in the way: %w", errdefs.ErrFailedPrecondition)
	case folder && !u.o.Overwrite:
		return fmt.Errorf("a file is in the way: %w", errdefs.ErrFailedPrecondition)
	}
	return os.RemoveAll(file)
}

func (u *unpacker) folder(file string, h *tar.Header) error {
	if err := os.Mkdir(file, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(file, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	u.dirs = append(u.dirs, h)
	return errors.Join(u.attributes(f, h, h.FileInfo().Mode()), f.Close())
}

func (u *unpacker) regular(file string, h *tar.Header) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	mode := h.FileInfo().Mode()
	if u.o.NoSetID {
		mode &^= fs.ModeSetuid | fs.ModeSetgid
	}
	if _, err = io.Copy(f, u.in); err == nil {
		err = u.attributes(f, h, mode)
	}
	return errors.Join(err, f.Close(), setTimes(file, h))
}

// attributes sets owner and mode, by the handle: what its owner may have put in the
// place of a file meanwhile is not touched. The owner is first, as chown(2) takes
// set-ID bits away.
func (u *unpacker) attributes(f *os.File, h *tar.Header, mode fs.FileMode) error {
	return errors.Join(f.Chown(u.owner(h)), f.Chmod(mode))
}

func (u *unpacker) owner(h *tar.Header) (uid, gid int) {
	if u.o.KeepOwner {
		return h.Uid, h.Gid
	}
	return u.o.UID, u.o.GID
}

// finish sets the times of folders, which making their entries has changed.
func (u *unpacker) finish() error {
	for _, h := range u.dirs {
		path, err := u.path(h.Name)
		if err == nil {
			err = u.enter(filepath.Dir(path))
		}
		if err == nil {
			err = setTimes(filepath.Base(path), h)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// setTimes sets the times that a header has, never of what a link leads to.
func setTimes(file string, h *tar.Header) error {
	times := []unix.Timespec{timespec(h.AccessTime), timespec(h.ModTime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, file, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "setting times", Path: file, Err: err}
	}
	return nil
}

// timespec leaves a time that is not known as it is.
func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}
