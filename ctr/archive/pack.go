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

// Info is what a path inside a root is.
type Info struct {
	// Path is absolute inside the root, with the last link resolved.
	Path string
	Mode fs.FileMode
	Size int64
}

// Stat follows links inside the root. ErrNotFound if there is nothing.
func (r *Root) Stat(name string) (Info, error) {
	var info Info
	err := r.do(func() error {
		target, err := filepath.EvalSymlinks(path.Clean("/" + name))
		if err != nil {
			return classify(name, err)
		}
		fi, err := os.Lstat(target)
		if err != nil {
			return classify(name, err)
		}
		info = Info{Path: target, Mode: fi.Mode(), Size: fi.Size()}
		return nil
	})
	return info, err
}

// PackOptions say what a stream looks like.
type PackOptions struct {
	// As is the name of the topmost entry; empty is the base name of the path,
	// "." leaves the entries below it without one.
	As string
	// UID and GID own all entries when Chown is set.
	Chown    bool
	UID, GID int
}

// Pack writes the file or the folder at name as a tar stream. Sockets are left
// out. ErrNotFound if there is nothing.
func (r *Root) Pack(ctx context.Context, name string, w io.Writer, o PackOptions) error {
	return r.do(func() error {
		clean := path.Clean("/" + name)
		target, err := filepath.EvalSymlinks(clean)
		if err != nil {
			return classify(name, err)
		}
		if o.As == "" {
			o.As = path.Base(clean)
		}
		p := packer{ctx: ctx, out: tar.NewWriter(w), o: o, links: map[inode]string{}}
		if err := p.tree(target); err != nil {
			return fmt.Errorf("packing %q: %w", name, err)
		}
		return p.out.Close()
	})
}

type inode struct{ dev, ino uint64 }

type packer struct {
	ctx   context.Context
	out   *tar.Writer
	o     PackOptions
	links map[inode]string
}

func (p *packer) tree(top string) error {
	return filepath.WalkDir(top, func(file string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist) && file != top:
			return nil // gone while we walked
		case err != nil:
			return err
		case p.ctx.Err() != nil:
			return p.ctx.Err()
		}
		rel, err := filepath.Rel(top, file)
		if err != nil {
			return err
		}
		name := path.Join(p.o.As, rel)
		if name == "." {
			return nil
		}
		return p.entry(file, strings.TrimPrefix(name, "/"))
	})
}

// entry writes one header, and the content of a regular file.
func (p *packer) entry(file, name string) error {
	fi, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || fi.Mode()&fs.ModeSocket != 0 {
		return err
	}
	target := ""
	if fi.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(file); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(fi, target)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = name, "", ""
	if fi.IsDir() {
		h.Name += "/"
	}
	if p.o.Chown {
		h.Uid, h.Gid = p.o.UID, p.o.GID
	}
	if !fi.Mode().IsRegular() {
		return p.out.WriteHeader(h)
	}
	return p.regular(file, h)
}

func (p *packer) regular(file string, h *tar.Header) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "opening", Path: file, Err: err}
	}
	f := os.NewFile(uintptr(fd), file)
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // it was exchanged for something else
	}
	if st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := p.links[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.out.WriteHeader(h)
		}
		p.links[id] = h.Name
	}
	h.Size = st.Size
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(p.out, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size { // it shrank: the stream must have what its header says
		_, err = io.CopyN(p.out, zeros{}, h.Size-n)
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// classify puts the class of errdefs on a path's error.
func classify(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%q: no such file or folder: %w", name, errdefs.ErrNotFound)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%q: %w: %w", name, err, errdefs.ErrPermissionDenied)
	}
	return err
}

// PackFile makes a tar archive of a folder, readable by root alone, and puts it in
// the place of location when it is whole. Until then it is in temp, a file of the
// same file system that must not be there.
func PackFile(ctx context.Context, dir, temp, location string) error {
	root, err := OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	out, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = root.Pack(ctx, "/", out, PackOptions{As: "."})
	if err = errors.Join(err, out.Sync(), out.Close()); err == nil {
		err = os.Rename(temp, location)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}
