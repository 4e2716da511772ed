package dump

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

// Files and folders of a dump.
const (
	Config = "config.dump"     // what the container is
	Spec   = "spec.dump"       // its runtime spec
	Images = "checkpoint"      // folder of the process images
	Rootfs = "rootfs-diff.tar" // what it has written to its root filesystem
)

// maxText bounds Config.
const maxText = 1 << 20

// Read returns the text of Config of the dump in a folder below root, and checks
// that the other files are there. ErrInvalidArgument if there is no whole dump.
func Read(root *os.Root, dir string) ([]byte, error) {
	text, err := read(root, dir)
	if err != nil {
		return nil, fmt.Errorf("reading dump %q: %w: %w", dir, err, errdefs.ErrInvalidArgument)
	}
	return text, nil
}

func read(root *os.Root, dir string) ([]byte, error) {
	f, err := Open(root, filepath.Join(dir, Config))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxText:
		return nil, fmt.Errorf("%s is too long", Config)
	}
	diff, err := Open(root, filepath.Join(dir, Rootfs))
	if err != nil {
		return nil, err
	}
	_ = diff.Close()
	fi, err := root.Lstat(filepath.Join(dir, Images))
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s is no folder", Images)
	}
	return text, err
}

// Open opens a regular file below root, for reading. Another kind of file, or a
// link to one, is ErrInvalidArgument.
func Open(root *os.Root, name string) (*os.File, error) {
	fi, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: %w", name, errdefs.ErrInvalidArgument)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a fifo by now
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(fi, now) {
		_ = f.Close()
		return nil, fmt.Errorf("%s was exchanged: %w", name, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	return f, nil
}

// CopyImages copies the process images of the dump in a folder below root into a
// folder that is there. They are regular files, or it is ErrInvalidArgument.
func CopyImages(ctx context.Context, root *os.Root, dir, to string) error {
	from := filepath.Join(dir, Images)
	folder, err := root.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	entries, err := folder.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyFile(root, filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(root *os.Root, from, to string) error {
	in, err := Open(root, from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // by reference where the file system can
	return errors.Join(err, out.Close())
}
