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
	"slices"
	"strings"
	"syscall"

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
		folder, target, err := openParent(name)
		if err != nil {
			return err
		}
		defer func() { _ = folder.Close() }()
		it, fi, err := openAt(folder, path.Base(target), unix.O_PATH)
		if err != nil {
			return classify(name, err)
		}
		info = Info{Path: target, Mode: fi.Mode(), Size: fi.Size()}
		return it.Close()
	})
	return info, err
}

// PackOptions say what a stream looks like.
type PackOptions struct {
	// As is the name of the topmost entry; empty is the base name of the path,
	// "." leaves the entries below it without one.
	As string
}

// Pack writes the file or the folder at name as a tar stream. Sockets are left
// out. ErrNotFound if there is nothing.
func (r *Root) Pack(ctx context.Context, name string, w io.Writer, o PackOptions) error {
	return r.do(func() error {
		folder, target, err := openParent(name)
		if err != nil {
			return err
		}
		defer func() { _ = folder.Close() }()
		if o.As == "" {
			o.As = path.Base(path.Clean("/" + name))
		}
		p := packer{ctx: ctx, out: tar.NewWriter(w), links: map[inode]string{}}
		if err := p.entry(folder, path.Base(target), path.Clean(strings.TrimPrefix(o.As, "/"))); err != nil {
			return fmt.Errorf("packing %q: %w", name, err)
		}
		return p.out.Close()
	})
}

type inode struct{ dev, ino uint64 }

// packer writes a tree by handles: what a folder holds is read from the folder that
// the stream says it is, whatever is put in its place meanwhile. A folder that its
// owner exchanges for a link is never looked into through that link.
type packer struct {
	ctx   context.Context
	out   *tar.Writer
	links map[inode]string
	depth int
}

// entry writes what a folder has under a name, and all below it; as is its name in
// the stream. What is gone meanwhile is left out.
func (p *packer) entry(folder *os.File, name, as string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	it, fi, err := openAt(folder, name, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }()
	switch {
	case fi.IsDir():
		return p.folder(it, as)
	case fi.Mode().IsRegular():
		return p.regular(folder, name, as)
	case fi.Mode()&fs.ModeSocket != 0:
		return nil
	}
	target := ""
	if fi.Mode()&fs.ModeSymlink != 0 {
		if target, err = readLink(it); err != nil {
			return err
		}
	}
	h, err := header(fi, as, target)
	if err != nil {
		return err
	}
	return p.out.WriteHeader(h)
}

// folder writes the folder of an O_PATH handle, which has no header of its own as
// ".", and its entries in the order of their names.
func (p *packer) folder(handle *os.File, as string) error {
	if p.depth++; p.depth > maxDepth {
		return fmt.Errorf("%q is more than %d folders deep: %w", as, maxDepth, errdefs.ErrInvalidArgument)
	}
	defer func() { p.depth-- }()
	dir, fi, err := openAt(handle, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if as != "." {
		h, err := header(fi, as+"/", "")
		if err != nil {
			return err
		}
		if err := p.out.WriteHeader(h); err != nil {
			return err
		}
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := p.entry(dir, name, path.Join(as, name)); err != nil {
			return err
		}
	}
	return nil
}

// header is that of an entry.
func header(fi fs.FileInfo, as, target string) (*tar.Header, error) {
	h, err := tar.FileInfoHeader(nameless{fi}, target)
	if err != nil {
		return nil, err
	}
	h.Name = as
	return h, nil
}

// nameless has no names for owners. Left to itself, archive/tar asks the C library
// for them, which inside a root goes by what that root has: its databases, and the
// modules to load that its nsswitch.conf(5) names (CVE-2019-14271).
type nameless struct{ fs.FileInfo }

// Uname is tar.FileInfoNames'.
func (nameless) Uname() (string, error) { return "", nil }

// Gname is tar.FileInfoNames'.
func (nameless) Gname() (string, error) { return "", nil }

// regular writes a regular file, or a link to the name under which the stream has it
// already.
func (p *packer) regular(folder *os.File, name, as string) error {
	f, fi, err := openAt(folder, name, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if !fi.Mode().IsRegular() {
		return nil // it was exchanged for something else
	}
	h, err := header(fi, as, "")
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := p.links[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.out.WriteHeader(h)
		}
		p.links[id] = as
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(p.out, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size { // it shrank: the stream must have what its header says
		_, err = io.CopyN(p.out, zeros{}, h.Size-n)
	}
	return err
}

// readLink reads the link of an O_PATH handle (readlinkat(2) with an empty path).
func readLink(link *os.File) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(link.Fd()), "", buf)
	if err != nil {
		return "", &os.PathError{Op: "reading link", Path: link.Name(), Err: err}
	}
	return string(buf[:n]), nil
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
