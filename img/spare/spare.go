package spare

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// files is how many descriptors must be free for the store to be used. It opens
// fewer at a time.
const files = 24

// Check returns ErrResourceExhausted when file descriptors are about to run out: the
// library panics when it cannot open the file of a lock, and keeps that lock.
func Check() error {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	open := []int{null}
	for err == nil && len(open) < files {
		var fd int
		if fd, err = unix.FcntlInt(uintptr(null), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			open = append(open, fd)
		}
	}
	if err != nil {
		err = fmt.Errorf("using the layer store: %w: %w", err, errdefs.ErrResourceExhausted)
	}
	for _, fd := range open {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

// Store is a store that is used only while there are descriptors to spare, by what
// containers call for.
type Store struct{ storage.Store }

// check is Check, and an error when the store's file system has become read-only:
// that, too, makes the library panic.
func (s Store) check() error {
	if err := unix.Access(s.GraphRoot(), unix.W_OK); errors.Is(err, unix.EROFS) {
		return &os.PathError{Op: "using the layer store", Path: s.GraphRoot(), Err: err}
	}
	return Check()
}

// CreateContainer implements storage.Store.
func (s Store) CreateContainer(id string, names []string, image, layer, metadata string, o *storage.ContainerOptions) (*storage.Container, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.Store.CreateContainer(id, names, image, layer, metadata, o)
}

// DeleteContainer implements storage.Store.
func (s Store) DeleteContainer(id string) error {
	if err := s.check(); err != nil {
		return err
	}
	return s.Store.DeleteContainer(id)
}

// Mount implements storage.Store.
func (s Store) Mount(id, label string) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	return s.Store.Mount(id, label)
}

// Unmount implements storage.Store.
func (s Store) Unmount(id string, force bool) (bool, error) {
	if err := s.check(); err != nil {
		return false, err
	}
	return s.Store.Unmount(id, force)
}

// Container implements storage.Store.
func (s Store) Container(id string) (*storage.Container, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.Store.Container(id)
}

// Containers implements storage.Store.
func (s Store) Containers() ([]storage.Container, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.Store.Containers()
}

// Image implements storage.Store.
func (s Store) Image(id string) (*storage.Image, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.Store.Image(id)
}

// Images implements storage.Store.
func (s Store) Images() ([]storage.Image, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.Store.Images()
}

// Layer implements storage.Store.
func (s Store) Layer(id string) (*storage.Layer, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.Store.Layer(id)
}
