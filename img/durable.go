package img

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/lockfile"
	"go.podman.io/storage/types"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img/frozen"
	"github.com/davit-containers/davit/img/sound"
	"github.com/davit-containers/davit/img/spare"
	"github.com/davit-containers/davit/img/whole"
)

// intake is the store as images are written to it: opened once more, with layers
// that are synced. The library syncs every layer of a store or none, and the
// writable layers of containers, which are made in milliseconds and begin empty,
// need not wait for a disk.
type intake struct {
	plain func() storage.Store // as all else is done with it
	mode  string               // SyncFilesystem or SyncNone
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
	return spare.Store{Store: whole.Store{Store: st}}, nil
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

// synced is the store to write an image to.
func (in *intake) synced() (storage.Store, error) {
	if in.mode == SyncNone || in.plain().GraphDriverName() != "overlay" {
		return in.plain(), nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.store == nil {
		opts := in.opts
		opts.GraphDriverName = in.plain().GraphDriverName()
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
	return in.sync(cmp.Or(in.plain().ImageStore(), in.plain().GraphRoot()), "layers", "images")
}

// persistRootfs makes a root filesystem that was just made outlast a loss of power:
// what its driver wrote down of its lower layers, and the records.
func (in *intake) persistRootfs(layer string) error {
	root := in.plain().GraphRoot()
	if in.mode == SyncNone {
		return nil
	}
	if in.plain().GraphDriverName() == "overlay" {
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
		if err := record.SyncDir(filepath.Join(root, in.plain().GraphDriverName()+"-"+kind)); err != nil {
			return fmt.Errorf("syncing the image store: %w", err)
		}
	}
	return nil
}

// bootMark is the file in the store's run root that holds the ID of the boot in
// which afterBoot has looked at it.
const bootMark = "davit-boot"

// afterBoot looks for what a loss of power has done to a store, before the library
// opens it, once a boot. It does what it can: a store that cannot be written to is
// for reading.
func afterBoot(opts types.StoreOptions) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("reading the boot's ID: %w", err)
	}
	mark := filepath.Join(opts.RunRoot, bootMark)
	if seen, err := os.ReadFile(mark); err == nil && bytes.Equal(seen, boot) {
		return nil
	}
	if err := errors.Join(dropTorn(opts.GraphRoot), mendStore(opts.GraphRoot)); err != nil {
		return fmt.Errorf("looking at the layers after a boot: %w", err)
	}
	if err := os.MkdirAll(opts.RunRoot, 0o700); err != nil {
		return nil // the library will say why
	}
	_ = os.WriteFile(mark, boot, 0o600)
	return nil
}

// recordFiles are the files of a store's records whose names match a pattern, which is
// a good one.
func recordFiles(root, pattern string) []string {
	files, _ := fs.Glob(os.DirFS(root), "*-*/"+pattern)
	for i, file := range files {
		files[i] = filepath.Join(root, file)
	}
	return files
}

// recordsLock is the library's lock of the records that are in a file.
func recordsLock(file string) string {
	dir := filepath.Dir(file)
	_, kind, _ := strings.Cut(filepath.Base(dir), "-")
	return filepath.Join(dir, kind+".lock")
}

// locked calls do under one of the library's locks, where the store has its folder and
// can be written to.
func locked(path string, do func() error) error {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil
	}
	lock, err := lockfile.GetLockFile(path)
	if err != nil {
		return nil // read-only
	}
	lock.Lock()
	defer lock.Unlock()
	return do()
}

// dropTorn removes those of the store's volatile records that a loss of power has
// torn. The library does not sync them, and opens no store with one that it cannot
// read: what was in it is lost, and with it nothing that was to outlast a boot.
func dropTorn(root string) error {
	var errs []error
	for _, path := range recordFiles(root, "volatile-*.json") {
		errs = append(errs, locked(recordsLock(path), func() error {
			data, err := os.ReadFile(path)
			if err != nil || len(data) == 0 || json.Valid(data) {
				return err
			}
			return os.Remove(path)
		}))
	}
	return errors.Join(errs...)
}

// relink puts right what a process that was killed, or a disk that was full, as it
// made a layer has done to the links of all layers.
func (in *intake) relink() error {
	if in.plain().GraphDriverName() != "overlay" {
		return nil
	}
	if err := rooms(in.plain()).Use(func() error { return mendStore(in.plain().GraphRoot()) }); err != nil {
		return fmt.Errorf("mending the layers' links: %w", err)
	}
	return nil
}

// mendStore is mendLinks for the store at root, under the lock of its layers.
func mendStore(root string) error {
	return locked(filepath.Join(root, "overlay-layers", "layers.lock"), func() error { return mendLinks(filepath.Join(root, "overlay")) })
}

// mendLinks makes each layer's note of its link and the link agree. A note may be
// empty, or of zeros, after a loss of power, or where its writing was cut short or
// found no room: the driver, told to remove such a layer, removes all links instead. The
// caller holds the lock of the layers.
func mendLinks(home string) error {
	entries, err := os.ReadDir(home)
	if err != nil {
		return nil
	}
	there, notes := map[string]bool{}, map[string]string{}
	for _, e := range entries {
		there[e.Name()] = true
		if note, err := os.ReadFile(filepath.Join(home, e.Name(), "link")); err == nil {
			notes[e.Name()] = sound.LinkName(note)
		}
	}
	links, err := os.ReadDir(filepath.Join(home, "l"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	of := map[string]string{}
	var errs []error
	for _, l := range links {
		path := filepath.Join(home, "l", l.Name())
		target, err := os.Readlink(path)
		if id := filepath.Base(filepath.Dir(target)); err == nil && !there[id] {
			errs = append(errs, os.Remove(path))
		} else if err == nil && (of[id] == "" || l.Name() == notes[id]) {
			of[id] = l.Name()
		}
	}
	for id, name := range notes {
		note := filepath.Join(home, id, "link")
		switch {
		case name == "" && of[id] == "":
			errs = append(errs, os.Remove(note))
		case name == "":
			errs = append(errs, record.WriteAtomic(note, []byte(of[id]), record.WriteOptions{Mode: 0o644, Sync: true}))
		case name != of[id]:
			errs = append(errs, sound.LinkOf(home, id, name).Mend())
		}
	}
	return errors.Join(errs...)
}
