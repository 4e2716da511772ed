package confine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// profileLimit is the size up to which a seccomp profile is read.
const profileLimit = 1 << 20

// SeccompFile returns the content of a seccomp profile of the host, a regular
// file of at most 1 MiB. Whatever is wrong with it is ErrInvalidArgument.
func SeccompFile(path string) (string, error) {
	data, err := readProfile(path)
	if err != nil {
		return "", fmt.Errorf("reading seccomp profile: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return string(data), nil
}

func readProfile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > profileLimit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file of at most 1 MiB")}
	}
	return io.ReadAll(io.LimitReader(f, profileLimit))
}
