package img

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"go.podman.io/storage"
	"go.podman.io/storage/types"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/img/frozen"
)

// library is the library's store, which is opened anew when its file system was
// read-only and can be written to.
type library struct {
	opts types.StoreOptions

	opening sync.Mutex
	now     storage.Store
}

// storage is the store as it can be used now.
func (l *library) storage() storage.Store {
	l.opening.Lock()
	defer l.opening.Unlock()
	if _, ok := l.now.(frozen.Store); !ok || unix.Access(l.opts.GraphRoot, unix.W_OK) != nil {
		return l.now
	}
	if st, err := openStorage(l.opts); err == nil {
		l.now = st
	}
	return l.now
}

// openFrozen opens a store that could not be opened because it is on a read-only
// file system, as err says.
func openFrozen(opts types.StoreOptions, err error) (storage.Store, error) {
	for _, driver := range []string{"overlay", "vfs"} { // those that can read another store
		if opts.GraphDriverName != "" && opts.GraphDriverName != driver {
			continue
		}
		if _, serr := os.Stat(filepath.Join(opts.GraphRoot, driver+"-images", "images.json")); serr != nil {
			continue
		}
		opts.GraphDriverName = driver
		st, oerr := openStorage(frozen.Options(opts))
		if oerr != nil {
			return nil, errors.Join(err, oerr)
		}
		return frozen.New(st, opts.GraphRoot), nil
	}
	return nil, err
}
