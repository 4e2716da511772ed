package img

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/reexec"
	"go.podman.io/storage/types"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/img/frozen"
	"github.com/davit-containers/davit/img/layersize"
	"github.com/davit-containers/davit/img/mounted"
	"github.com/davit-containers/davit/img/reserve"
	"github.com/davit-containers/davit/img/trial"
)

// defaultBlobCopies is how many blobs a Store transfers at a time, all its
// pulls together.
const defaultBlobCopies = 6

// Config says where a store is and how it talks to registries. Its zero value
// is the host's containers-storage, as storage.conf describes it.
type Config struct {
	// Root and RunRoot are davit's own roots, when it was given some: the layer
	// store is then Root/storage and RunRoot/storage, and nothing of the host's
	// store is touched. With an empty Root the host's store is used.
	Root, RunRoot string
	// StorageRoot and StorageRunRoot move the layer store alone. A StorageRoot
	// without a StorageRunRoot gets a run root derived from its path.
	StorageRoot, StorageRunRoot string
	// Driver is the storage driver; empty is what storage.conf says, or overlay
	// in a store of its own.
	Driver string
	// Options are driver options such as "overlay.mountopt=nodev". They are
	// added to those of storage.conf.
	Options []string
	// Sync is SyncFilesystem or SyncNone; empty is what the driver options or
	// storage.conf say of sync, and SyncFilesystem where they say nothing.
	Sync string
	// Registries are the defaults for talking to registries.
	Registries Registries
	// TempDir is where blobs are kept while they are transferred; empty is a
	// folder of the store.
	TempDir string
	// BlobCopies bounds how many blobs are transferred at a time, all pulls of
	// this store together; 0 is 6.
	BlobCopies int
	// Stall is how long a registry that is being read from may send nothing
	// before the transfer is given up. Unpacking does not count. 0 is for ever.
	Stall time.Duration
	// Log receives what the libraries have to say. It may be nil.
	Log *slog.Logger
}

// What is on disk before an image counts as there.
const (
	// SyncFilesystem has the file system synced before a layer counts as
	// complete, and the records of images before a change of theirs is
	// acknowledged: after a loss of power an image is there whole, or not at all.
	// The driver has to be overlay; btrfs and zfs order their writes themselves,
	// and with vfs layers may be damaged.
	SyncFilesystem = "filesystem"
	// SyncNone leaves it to the kernel: a layer that came in the half minute
	// before a loss of power may count as complete and have empty files.
	SyncNone = "none"
)

// Registries are paths of the files that steer transfers. An empty path is the
// file that containers-registries.conf(5), containers-auth.json(5) and
// containers-policy.json(5) name, with their environment variables.
type Registries struct {
	Conf     string // registries.conf
	ConfDir  string // registries.conf.d
	AuthFile string // auth.json
	CertsDir string // certs.d, with a folder for each host
	Policy   string // policy.json; one that is named must exist
}

// Store is a store of images and root filesystems. It may be used from several
// goroutines, and by several processes at a time.
type Store struct {
	// Roots are the root filesystems of the store; its methods are the Store's.
	Roots
}

// core is what the types of this package share.
type core struct {
	records
	intake intake
	cfg    Config
	log    *slog.Logger
	copies *semaphore.Weighted
	layers *layersize.Meter
	inodes layerInodes
	pulls  pulls
	mounts mounted.Set
	renew  func() error // opens the library's store anew
}

// records are the images and layers, as the store has them on record.
type records struct {
	storage func() storage.Store // the library's
	mu      sync.Mutex
	sizes   map[string]int64 // by top layer; layers do not change
	known   knownImages
}

// Reexec does the work of a child process of the store and answers true when
// this process is one. The caller then exits with 0.
func Reexec() bool { return reexec.Init() }

// Open opens the store. One on a read-only file system can be read; as long as that
// is so, what would change it is EROFS. Open returns ErrFailedPrecondition, with
// what would do instead, when the storage driver does not work on the store's file
// system.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	opts, err := storeOptions(cfg)
	if err != nil {
		return nil, err
	}
	divertLibraryLog(ctx, log)
	var sync string
	opts.GraphDriverOptions, sync = splitSync(opts.GraphDriverOptions, cfg.Sync)
	if err := afterBoot(opts); err != nil {
		return nil, openError(opts, err)
	}
	due := trial.Due(opts.RunRoot)
	st, err := openStorage(opts)
	if errors.Is(err, unix.EROFS) {
		st, err = openFrozen(opts, err)
	}
	if err != nil {
		return nil, openError(opts, err)
	}
	if due {
		if err := trial.Sweep(opts.GraphRoot); err != nil { // none of it is in anybody's way
			log.Warn("the image store is not clean", "error", err)
		}
	}
	reserve.Of(opts.GraphRoot, opts.RunRoot).Keep()
	thawing := frozen.Thaw(st, func() (storage.Store, error) { return openStorage(opts) })
	copies := int64(cmp.Or(cfg.BlobCopies, defaultBlobCopies))
	c := &core{
		records: records{storage: thawing.Store, sizes: map[string]int64{}, known: knownImages{images: map[string]knownImage{}}},
		cfg:     cfg, log: log, copies: semaphore.NewWeighted(copies), layers: layersize.New(), renew: thawing.Renew,
	}
	c.intake.plain, c.intake.mode, c.intake.opts = c.storage, sync, opts
	c.pulls.flights, c.inodes.known = map[string]*flight{}, map[string]uint64{}
	return &Store{Roots{c}}, nil
}

// Close releases the store. Mounted root filesystems stay mounted.
func (s *Store) Close() error {
	s.layers.Close()
	s.inodes.walks.Wait()
	return nil
}

// storeOptions are the options of the layer store that cfg asks for.
func storeOptions(cfg Config) (types.StoreOptions, error) {
	var opts types.StoreOptions
	own := true
	switch {
	case cfg.StorageRoot != "":
		opts.GraphRoot, opts.RunRoot = cfg.StorageRoot, cfg.StorageRunRoot
		if opts.RunRoot == "" {
			run := cfg.RunRoot
			if cfg.Root == "" || run == "" {
				run = "/run/davit"
			}
			sum := sha256.Sum256([]byte(filepath.Clean(cfg.StorageRoot)))
			opts.RunRoot = filepath.Join(run, "storage-"+hex.EncodeToString(sum[:4]))
		}
	case cfg.Root != "":
		if cfg.RunRoot == "" {
			return opts, fmt.Errorf("store in %q: a root of its own needs a run root too: %w", cfg.Root, errdefs.ErrInvalidArgument)
		}
		opts.GraphRoot, opts.RunRoot = filepath.Join(cfg.Root, "storage"), filepath.Join(cfg.RunRoot, "storage")
	default:
		var err error
		if opts, err = types.DefaultStoreOptions(); err != nil {
			return opts, fmt.Errorf("reading storage.conf: %w", err)
		}
		own = false
	}
	opts.GraphDriverName = cmp.Or(cfg.Driver, opts.GraphDriverName)
	if own && opts.GraphDriverName == "" && !hasDriver(opts.GraphRoot) {
		opts.GraphDriverName = "overlay"
	}
	opts.GraphDriverOptions = append(slices.Clone(opts.GraphDriverOptions), cfg.Options...)
	if own && opts.GraphDriverName != "vfs" {
		// Without this the driver makes its home a private bind mount that
		// stays behind when the store is closed and its folder removed.
		if !slices.ContainsFunc(cfg.Options, func(o string) bool { return strings.Contains(o, "skip_mount_home=") }) {
			opts.GraphDriverOptions = append(opts.GraphDriverOptions, "overlay.skip_mount_home=true")
		}
	}
	return opts, nil
}

// hasDriver says whether some driver has used this root before: it then chooses
// itself.
func hasDriver(root string) bool {
	for _, d := range []string{"overlay", "btrfs", "zfs", "vfs"} {
		if _, err := os.Stat(filepath.Join(root, d+"-images")); err == nil {
			return true
		}
	}
	return false
}

// openError puts in words why a store could not be opened.
func openError(opts types.StoreOptions, err error) error {
	driver := cmp.Or(opts.GraphDriverName, "the storage driver")
	switch {
	case errors.Is(err, graphdriver.ErrNotSupported), errors.Is(err, graphdriver.ErrIncompatibleFS), errors.Is(err, graphdriver.ErrPrerequisites),
		strings.Contains(err.Error(), "is not supported over"), strings.Contains(err.Error(), "backing file system"):
		return &classified{
			msg:   fmt.Sprintf("opening the image store %s: %s does not work on this file system; storage driver vfs works anywhere: %s", opts.GraphRoot, driver, lastCause(err)),
			class: []error{errdefs.ErrFailedPrecondition}, cause: err,
		}
	case errors.Is(err, os.ErrPermission):
		return &classified{msg: fmt.Sprintf("opening the image store %s: permission denied", opts.GraphRoot), class: []error{errdefs.ErrPermissionDenied}, cause: err}
	}
	return fmt.Errorf("opening the image store %s: %w", opts.GraphRoot, err)
}

// divertLibraryLog sends to log what the libraries write to logrus, which
// otherwise goes to standard error. It is the one piece of global state that
// they leave no way around; the last store opened has it.
func divertLibraryLog(ctx context.Context, log *slog.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.ReplaceHooks(logrus.LevelHooks{})
	if !log.Enabled(ctx, slog.LevelDebug) {
		std.SetLevel(logrus.PanicLevel)
		return
	}
	std.SetLevel(logrus.DebugLevel)
	std.AddHook(logDiversion{log})
}

type logDiversion struct{ log *slog.Logger }

var _ logrus.Hook = logDiversion{}

// Levels are all of them.
func (logDiversion) Levels() []logrus.Level { return logrus.AllLevels }

// Fire hands one entry on. What the libraries call errors comes back to davit
// as an error as well, so that all of it is for debugging only.
func (d logDiversion) Fire(e *logrus.Entry) error {
	d.log.Debug(e.Message, "from", "containers", "level", e.Level.String())
	return nil
}
