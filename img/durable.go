package img

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.podman.io/storage"
	"go.podman.io/storage/types"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img/spare"
)

// intake is the store as images are written to it: opened once more, with layers
// that are synced. The library syncs every layer of a store or none, and the
// writable layers of containers, which are made in milliseconds and begin empty,
// need not wait for a disk.
type intake struct {
	plain storage.Store // as all else is done with it
	mode  string        // SyncFilesystem or SyncNone
	opts  types.StoreOptions

	mu    sync.Mutex
	store storage.Store // nil until an image is written
}

// splitSync takes out of driver options what they say of syncing, and returns it
// too; want, where it is not empty, says more than they do.
func splitSync(options []string, want string) (rest []string, mode string) {
	mode = SyncFilesystem
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		if key = strings.ToLower(key); key == "overlay.sync" || key == "vfs.sync" || key == ".sync" {
			mode = value
			continue
		}
		rest = append(rest, o)
	}
	return rest, cmp.Or(want, mode)
}

// openStorage opens the library's store, for this caller alone: its list of open
// stores would give the next one this one, whatever the options.
func openStorage(opts types.StoreOptions) (storage.Store, error) {
	if err := spare.Check(); err != nil {
		return nil, err
	}
	st, err := storage.GetStore(opts)
	if err != nil {
		return nil, err
	}
	st.Free()
	return spare.Store{Store: st}, nil
}

// synced is the store to write an image to.
func (in *intake) synced() (storage.Store, error) {
	if in.mode == SyncNone || in.plain.GraphDriverName() != "overlay" {
		return in.plain, nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.store == nil {
		opts := in.opts
		opts.GraphDriverName = in.plain.GraphDriverName()
		opts.GraphDriverOptions = append(slices.Clone(opts.GraphDriverOptions), "overlay.sync="+in.mode)
		st, err := openStorage(opts)
		if err != nil {
			return nil, openError(opts, err)
		}
		in.store = st
	}
	return in.store, nil
}

// persist makes a change of the images' records outlast a loss of power: the
// library syncs the files that hold them, and not that they replaced others.
func (in *intake) persist() error {
	// An image after what it is made of.
	return in.sync(cmp.Or(in.plain.ImageStore(), in.plain.GraphRoot()), "layers", "images")
}

// persistRootfs makes a root filesystem that was just made outlast a loss of power:
// what its driver wrote down of its lower layers, and the records.
func (in *intake) persistRootfs(layer string) error {
	root := in.plain.GraphRoot()
	if in.mode == SyncNone {
		return nil
	}
	if in.plain.GraphDriverName() == "overlay" {
		dir := filepath.Join(root, "overlay", layer)
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if err == nil && e.Type().IsRegular() {
				err = record.SyncFile(filepath.Join(dir, e.Name()))
			}
		}
		if err != nil {
			return fmt.Errorf("syncing a root filesystem's layer: %w", err)
		}
	}
	return in.sync(root, "layers", "containers")
}

func (in *intake) sync(root string, kinds ...string) error {
	if in.mode == SyncNone {
		return nil
	}
	for _, kind := range kinds {
		if err := record.SyncDir(filepath.Join(root, in.plain.GraphDriverName()+"-"+kind)); err != nil {
			return fmt.Errorf("syncing the image store: %w", err)
		}
	}
	return nil
}
