package frozen

import (
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/types"
	"golang.org/x/sys/unix"
)

// Store is a store whose images and layers can be read. What its users would change
// it by is refused; containers it has none, for nobody can read them without writing.
type Store struct {
	storage.Store
	root string
}

// Options are those of a store that has another one's images, that of opts, besides
// its own, which is an empty one in the run root. Its driver must be known. The
// library remembers for good by which path it has a lock for reading alone: the path
// is not that by which the store is opened once it can be written to.
func Options(opts types.StoreOptions) types.StoreOptions {
	o := opts
	o.GraphRoot = filepath.Join(opts.RunRoot, "read-only")
	o.RunRoot = filepath.Join(opts.RunRoot, "read-only-run")
	o.GraphDriverOptions = append(slices.Clone(opts.GraphDriverOptions), opts.GraphDriverName+".imagestore="+filepath.Join("/proc/self/root", opts.GraphRoot))
	return o
}

// New is the Store of what Options has opened, for the one at root.
func New(st storage.Store, root string) Store { return Store{st, root} }

// Refuse is why nothing changes.
func (s Store) Refuse() error {
	return &os.PathError{Op: "changing the layer store", Path: s.root, Err: unix.EROFS}
}

// GraphRoot implements storage.Store: it is where the images are.
func (s Store) GraphRoot() string { return s.root }

// CreateContainer implements storage.Store.
func (s Store) CreateContainer(string, []string, string, string, string, *storage.ContainerOptions) (*storage.Container, error) {
	return nil, s.Refuse()
}

// Container implements storage.Store.
func (s Store) Container(string) (*storage.Container, error) { return nil, s.Refuse() }

// DeleteContainer implements storage.Store.
func (s Store) DeleteContainer(string) error { return s.Refuse() }

// Delete implements storage.Store.
func (s Store) Delete(string) error { return s.Refuse() }

// DeleteLayer implements storage.Store.
func (s Store) DeleteLayer(string) error { return s.Refuse() }

// DeleteImage implements storage.Store.
func (s Store) DeleteImage(string, bool) ([]string, error) { return nil, s.Refuse() }

// Mount implements storage.Store.
func (s Store) Mount(string, string) (string, error) { return "", s.Refuse() }

// Unmount implements storage.Store.
func (s Store) Unmount(string, bool) (bool, error) { return false, s.Refuse() }

// ApplyDiff implements storage.Store.
func (s Store) ApplyDiff(string, io.Reader) (int64, error) { return 0, s.Refuse() }

// SetNames implements storage.Store.
func (s Store) SetNames(string, []string) error { return s.Refuse() }

// AddNames implements storage.Store.
func (s Store) AddNames(string, []string) error { return s.Refuse() }

// RemoveNames implements storage.Store.
func (s Store) RemoveNames(string, []string) error { return s.Refuse() }

// SetImageBigData implements storage.Store.
func (s Store) SetImageBigData(string, string, []byte, func([]byte) (digest.Digest, error)) error {
	return s.Refuse()
}

// GarbageCollect implements storage.Store.
func (s Store) GarbageCollect() error { return s.Refuse() }
