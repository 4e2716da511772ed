package rootfs

import (
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// OpenRegular opens the regular file at name within root for reading. It
// follows symlinks within the root. The caller closes it.
//
// Absent, or not reachable within the root: ErrNotFound. Anything but a
// regular file, or one of more than limit bytes: ErrInvalidArgument. It never
// blocks on a fifo and never opens a device.
func OpenRegular(root, name string, limit int64) (*os.File, error) {
	handle, err := findIn(root, name)
	if err != nil {
		return nil, fmt.Errorf("opening %q of the container: %w", name, classed(err))
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening %q of the container: %w", name, classed(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("opening %q of the container: not a regular file: %w", name, errdefs.ErrInvalidArgument)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("opening %q of the container: %d bytes, more than the %d allowed: %w", name, info.Size(), limit, errdefs.ErrInvalidArgument)
	}
	// The handle pins the inode that was looked at: what is opened is a
	// regular file.
	file, err := reopen(handle, unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("opening %q of the container: %w", name, classed(err))
	}
	return file, nil
}

// ReadRegular returns the content of a file, by the rules of [OpenRegular];
// one that grows past limit meanwhile is refused too.
func ReadRegular(root, name string, limit int64) ([]byte, error) {
	file, err := OpenRegular(root, name, limit)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q of the container: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("reading %q of the container: more than the %d bytes allowed: %w", name, limit, errdefs.ErrInvalidArgument)
	}
	return data, nil
}
