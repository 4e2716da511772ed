package ctr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/confine"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/selinux"
	"github.com/davit-containers/davit/ctr/volume"
	"github.com/davit-containers/davit/img"
)

// Images is what containers need of the image store. *img.Store is one.
type Images interface {
	// ResolveAs finds a local image by name, ID or digest; ErrNotFound if absent.
	ResolveAs(ctx context.Context, ref string, m img.Match) (img.Image, error)
	// CreateRootfs makes a writable layer over an image.
	CreateRootfs(ctx context.Context, cfg img.RootfsConfig) (img.Rootfs, error)
	// MountRootfs mounts it and returns where; mounting twice is harmless.
	MountRootfs(ctx context.Context, id string) (string, error)
	// UnmountRootfs undoes MountRootfs; one that is not mounted is no error.
	UnmountRootfs(ctx context.Context, id string) error
	// DeleteRootfs removes the layer; ErrNotFound if absent.
	DeleteRootfs(ctx context.Context, id string) error
}

// Options are what a Controller works with.
type Options struct {
	Paths record.Paths
	// Images opens the image store; it is called when a layer is first needed.
	Images func(context.Context) (Images, error)
	// Layers opens what knows of writable layers; nil measures none.
	Layers   func(context.Context) (Layers, error)
	Runtimes Runtimes
	// Monitor is the path of conmon.
	Monitor string
	// ExitCommand is run by the monitor when a container has exited, with the
	// container's ID and start number appended.
	ExitCommand []string
	Host        Host
	Volumes     *volume.Store
	Cgroups     func() (*cgroup.Host, error)
	// CgroupDriver is what cgroups are made by, and where.
	CgroupDriver cgroup.Driver
	Log          *slog.Logger
	Now          func() time.Time
}

// Host is what of the host containers may be given, and what confines them.
type Host struct {
	// InitPath is the init process that Config.Init asks for.
	InitPath string
	// CDIDirs are the folders of the CDI descriptions, later ones winning.
	CDIDirs []string
	// AppArmor and SELinux confine them: this host's own where they are zero.
	AppArmor confine.AppArmor
	SELinux  selinux.Labeller
}

// Controller drives containers. It is safe for concurrent use, by any number of
// processes on the same roots. It is composed of a part for each concern, each
// of which needs those before it.
type Controller struct {
	*records
	*ends
	*settler
	*creator
	*starter
	*maker
	*stopper
	*sessions
	*keeper
	*nurse
	*meter
	*dumper
	*restorer
	*runtimes
	*checker
}

// records reads containers' records and checks them against the evidence.
type records struct {
	o       Options
	held    *monitor.Held // the processes of containers that are kept
	dir     *record.Dir[Config, Status]
	answers *runtimes
}

// limiter sets limits.
type limiter struct{ *records }

// ends knows of which containers' ends something is still to follow.
type ends struct{ *records }

// settler runs operations, and undoes or finishes them; it holds all ways out.
type settler struct {
	*limiter
	// ended does what is due when a container has ended during an operation, so
	// that its exit command found the lock taken; nil does nothing.
	ended func(context.Context, string) error
}

// bundler turns a record into what the runtime is started from.
type bundler struct{ *settler }

// maker creates and starts in two steps.
type maker struct {
	*settler
	creator *creator
	starter *starter
	kept    *atomic.Bool // there is a keeper at work, which settles what is made
}

// creator, starter, stopper and sessions do what their names say.
type (
	creator  struct{ *bundler }
	starter  struct{ *bundler }
	stopper  struct{ *settler }
	sessions struct {
		*settler
		large chan struct{} // one for each large answer, see OutputLimit
	}
)

// New returns a Controller on the records below o.Paths.
func New(o Options) (*Controller, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Runtimes.Names == nil {
		o.Runtimes.Names = func() []string { return nil }
	}
	dir, err := record.Open[Config, Status](record.Options{Paths: o.Paths, Kind: "containers", Log: o.Log, Now: o.Now})
	if err != nil {
		return nil, fmt.Errorf("opening container records: %w", err)
	}
	rts := &runtimes{from: o.Runtimes, asked: map[string]asked{}}
	r := &records{o: o, dir: dir, answers: rts, held: &monitor.Held{}}
	s := &settler{limiter: &limiter{r}}
	b := &bundler{s}
	cr, st, stop := &creator{b}, &starter{b}, &stopper{s}
	m, kept := &meter{ctrs: r}, &atomic.Bool{}
	return &Controller{
		records: r, ends: &ends{r}, settler: s,
		creator: cr, starter: st, maker: &maker{s, cr, st, kept},
		stopper: stop, sessions: &sessions{settler: s, large: make(chan struct{}, largeAnswers)},
		keeper: &keeper{settler: s, gone: m.rates.Drop, active: kept}, nurse: &nurse{s},
		meter: m, dumper: &dumper{s}, restorer: &restorer{cr, stop},
		runtimes: rts, checker: &checker{stop},
	}, nil
}

// OnEnd sets what is done when a container has ended while it was paused, thawed
// or looked into: what its exit command would have done (package pod). It is to be
// called before the Controller is used.
func (c *Controller) OnEnd(f func(ctx context.Context, id string) error) { c.ended = f }

// Get returns the container with a full ID as it is now: the recorded status
// checked against the exit file and the processes. It takes no lock and runs
// nothing. ErrNotFound if there is none.
func (c *records) Get(_ context.Context, id string) (Container, error) {
	e, err := c.dir.Get(id)
	if err != nil {
		return Container{}, fmt.Errorf("container %q: %w", id, err)
	}
	return c.derive(e), nil
}

// Rename gives a container another name. *record.NameTakenError if it is taken.
func (c *records) Rename(ctx context.Context, id, name string) error {
	if err := c.dir.Rename(ctx, id, name); err != nil {
		return fmt.Errorf("renaming container %q: %w", id, err)
	}
	return nil
}

// Exists tells whether there is a record of that full ID, whole or not.
func (c *records) Exists(id string) bool {
	_, err := os.Lstat(c.dir.RootDir(id))
	return err == nil
}

// List returns all containers, oldest first, as Get does. Records that cannot be
// read are left out and named in the error, which comes beside the others.
func (c *records) List(context.Context) ([]Container, error) {
	entries, err := c.dir.All()
	out := make([]Container, len(entries))
	for i, e := range entries {
		out[i] = c.derive(*e)
	}
	return out, err
}

// Each calls f for all containers as List has them; see [record.Each] for what f may do.
func (c *records) Each(_ context.Context, f func(*Container)) error {
	return record.Each(c.dir, c.derive, f)
}

// Resolve finds a container's full ID by name, full ID or unique prefix.
// ErrNotFound if there is none, *record.AmbiguousError if there are several.
func (c *records) Resolve(ref string) (string, error) {
	id, err := c.dir.Resolve(nil, ref)
	if err != nil {
		return "", fmt.Errorf("container %q: %w", ref, err)
	}
	return id, nil
}

// RunDir is the folder of a container's run files.
func (c *records) RunDir(id string) string { return c.dir.RunDir(id) }

// LogPath is the file that a container's output is written to; empty if it has
// none.
func (c *records) LogPath(ctr Container) string {
	switch {
	case ctr.Config.Log.Driver == LogNone:
		return ""
	case ctr.Config.Log.Path != "":
		return ctr.Config.Log.Path
	}
	return ownLog(c, ctr.ID)
}

// ownLog is the log of a container that was given no other path.
func ownLog(c *records, id string) string {
	return filepath.Join(c.dir.RootDir(id), "container.log")
}

// Watch tells of containers whose status changed, until ctx ends.
func (c *records) Watch(ctx context.Context) (<-chan record.Event, error) { return c.dir.Watch(ctx) }

func (c *records) bundle(id string) string { return filepath.Join(c.dir.RunDir(id), "bundle") }

// persist is the folder in which the monitor of start number n leaves the exit
// code: each start has its own, so that none reads the last one's.
func (c *records) persist(id string, n int) string {
	return filepath.Join(c.dir.RunDir(id), fmt.Sprintf("start.%d", n))
}

// runtime finds the OCI runtime of a container.
func (c *records) runtime(cfg Config) (oci.Runtime, error) {
	rt, err := c.o.Runtimes.Find(cfg.Runtime)
	if err != nil {
		return oci.Runtime{}, fmt.Errorf("finding runtime %q: %w", cfg.Runtime, err)
	}
	return rt, nil
}

// RuntimeBinary is the base name of the binary of an OCI runtime.
func (c *creator) RuntimeBinary(name string) (string, error) {
	rt, err := c.runtime(Config{Runtime: name})
	return filepath.Base(rt.Path), err
}

// AbsentOK drops the error class that says that something is gone already.
func AbsentOK(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Undo runs every step and joins their errors: the shape of all undoing.
func Undo(steps ...func() error) error {
	var errs []error
	for _, step := range steps {
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}
