package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/volume"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// Part is a part of the engine that a command needs.
type Part int

// The parts, for Env.Engine. A command names those that it uses itself; what
// these need of each other is opened with them.
const (
	Images Part = iota
	Networks
	Containers
	Pods
)

// Engine is the engine as a command sees it. A part is nil until it is opened.
type Engine struct {
	Images     *img.Store
	Networks   *netw.Attacher
	Containers *ctr.Controller
	Pods       *pod.Controller
	Volumes    *volume.Store

	settled Settled
	live    atomic.Pointer[Config] // the last one that was read, for what may change
	booted  bool
	stays   bool
	cgroups func() (*cgroup.Host, error) // detected once, when they are first needed
	mu      sync.Mutex                   // the image store is opened by whichever part needs it first
}

// Settled is what the parts are opened with.
type Settled struct {
	Config *Config
	// Flags are those that were given, for processes that work on the same state.
	Flags Settings
	Log   *slog.Logger
}

// Cgroups are the version and the controllers of this host's cgroups. ErrNotFound
// if it has none.
func Cgroups() (version int, controllers []string, err error) {
	h, err := cgroup.Detect()
	if err != nil {
		return 0, nil, err
	}
	return h.Version, h.Controllers(), nil
}

// Reexec does the work of a child process of the engine's libraries, and answers
// true when this process is one: it then has nothing more to do.
func Reexec() bool { return img.Reexec() }

// Open opens parts that are not open yet.
func (e *Engine) Open(ctx context.Context, s Settled, parts ...Part) error {
	defer record.Span(ctx, "engine open", "")()
	e.settled = s
	e.live.Store(s.Config)
	if e.cgroups == nil {
		e.cgroups = sync.OnceValues(cgroup.Detect)
	}
	if !e.booted {
		rebooted, err := record.EnsureBoot(s.paths())
		if err != nil {
			return fmt.Errorf("opening davit's state: %w", err)
		}
		e.booted = true
		if rebooted && !e.stays { // a process that stays sweeps beside its work
			if err := e.afterReboot(ctx); err != nil {
				s.Log.Warn("what the machine's restart has ended cannot all be cleared up yet", "error", err)
			}
		}
	}
	for _, p := range parts {
		var err error
		switch p {
		case Images:
			_, err = e.openImages(ctx)
		case Networks:
			err = e.openNetworks()
		case Containers:
			err = e.openContainers()
		case Pods:
			err = e.openPods()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close closes the parts that are open.
func (e *Engine) Close() error {
	var errs []error
	if e.Images != nil {
		errs = append(errs, e.Images.Close())
		e.Images = nil
	}
	return errors.Join(errs...)
}

func (e *Engine) openImages(ctx context.Context) (*img.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Images != nil {
		return e.Images, nil
	}
	opened := record.Span(ctx, "image store open", "")
	store, err := img.Open(ctx, e.settled.images())
	opened()
	if err != nil {
		return nil, err
	}
	e.Images = store
	return store, nil
}

// afterReboot settles what the last boot left.
func (e *Engine) afterReboot(ctx context.Context) error {
	if err := e.openPods(); err != nil {
		return err
	}
	return e.Pods.Reboot(ctx)
}

func (e *Engine) openNetworks() (err error) {
	if e.Networks == nil {
		e.Networks, err = netw.New(e.settled.networks())
	}
	return err
}

func (e *Engine) openContainers() (err error) {
	if e.Containers != nil {
		return nil
	}
	s := e.settled
	e.Volumes = volume.New(volume.Options{Root: s.Config.Root})
	exit, err := s.self("container", "exited")
	if err != nil {
		return err
	}
	e.Containers, err = ctr.New(ctr.Options{
		Paths:  s.paths(),
		Images: func(ctx context.Context) (ctr.Images, error) { return e.openImages(ctx) },
		Layers: func(ctx context.Context) (ctr.Layers, error) { return e.openImages(ctx) },
		Runtimes: ctr.Runtimes{
			Find:  func(name string) (oci.Runtime, error) { return e.now().runtime(name) },
			Names: func() []string { return e.now().runtimeNames() },
			Annotations: func(name string) []string {
				c := e.live.Load()
				return c.Runtimes[cmp.Or(name, c.Engine.Runtime)].AllowedAnnotations
			},
		},
		Monitor: s.Config.Engine.Conmon, ExitCommand: exit,
		Host:    ctr.Host{InitPath: program(s.Config.Engine.InitPath), CDIDirs: s.Config.Engine.CDIDirs},
		Volumes: e.Volumes,
		Cgroups: e.cgroups, CgroupDriver: s.cgroupDriver(),
		Log: s.Log,
	})
	return err
}

func (e *Engine) openPods() (err error) {
	if e.Pods != nil {
		return nil
	}
	if err := errors.Join(e.openNetworks(), e.openContainers()); err != nil {
		return err
	}
	s := e.settled
	timer, err := s.self("pod", "tend", "--locked")
	if err != nil {
		return err
	}
	e.Pods, err = pod.New(pod.Options{
		Paths: s.paths(), Containers: e.Containers,
		Networks: e.Networks, DefaultNetwork: s.Config.Network.Default,
		Cgroups: e.cgroups, CgroupDriver: s.cgroupDriver(),
		InfraCommand: s.infraCommand(), TimerCommand: timer, Log: s.Log,
	})
	return err
}

// now is what the parts were opened with, with what has been read since.
func (e *Engine) now() Settled {
	s := e.settled
	s.Config = e.live.Load()
	return s
}

// runtime finds an OCI runtime: one of [runtimes], a name in PATH, or a path.
func (s Settled) runtime(name string) (oci.Runtime, error) {
	if name == "" {
		name = s.Config.Engine.Runtime
	}
	conf := s.Config.Runtimes[name]
	rt := oci.Runtime{
		Name: filepath.Base(name), Path: cmp.Or(conf.Path, name),
		Root:          cmp.Or(conf.Root, filepath.Join(s.Config.RunRoot, "runtimes", filepath.Base(name))),
		SystemdCgroup: s.cgroupDriver().Systemd,
		ExtraArgs:     conf.Args, Log: s.Log,
		Timeout: time.Duration(s.Config.Engine.RuntimeTimeout) * time.Second,
	}
	return rt, rt.Check()
}

// runtimeNames are the runtimes that are known by name: those of [runtimes], and
// runc and crun where they are installed.
func (s Settled) runtimeNames() []string {
	names := s.Config.RuntimeNames()
	for _, name := range []string{"crun", "runc"} {
		if _, err := exec.LookPath(name); err == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// self is a command of this program on the same roots, for monitors to run when
// their container has exited, and for timer processes.
func (s Settled) self(command ...string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding davit's own binary: %w", err)
	}
	args := []string{self}
	if s.Flags.File != "" {
		args = append(args, "--config", s.Flags.File)
	}
	for _, k := range s.Flags.Keys {
		if strings.HasPrefix(k.Key, "cri.") {
			continue // the server's alone, and its command's
		}
		flag := strings.TrimPrefix(k.Origin, "flag ")
		switch v := k.Value.(type) {
		case []string:
			for _, one := range v {
				args = append(args, flag, one)
			}
		default:
			args = append(args, flag, fmt.Sprint(v))
		}
	}
	return append(args, command...), nil
}

func (s Settled) infraCommand() []string {
	if c := s.Config.Engine.InfraCommand; len(c) > 0 {
		return append([]string{program(c[0])}, c[1:]...)
	}
	return []string{program(s.Config.Engine.InitPath), "-P"}
}

func (s Settled) cgroupDriver() cgroup.Driver {
	return cgroup.Driver{Systemd: s.Config.Engine.CgroupManager == "systemd", Parent: s.cgroupParent()}
}

// cgroupParent is where the pods' cgroups are; a davit on roots of its own has
// one of its own, so that nobody sweeps another's.
func (s Settled) cgroupParent() string {
	if s.Config.DefaultRoots() {
		return "/davit"
	}
	sum := sha256.Sum256([]byte(s.Config.RunRoot))
	return "/davit-" + hex.EncodeToString(sum[:3])
}

// program is the path of a binary that is named or given by its path; one that
// is not found stays as it is, for whoever needs it to say so.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return name
}

func (s Settled) networks() netw.Config {
	c := s.Config.Network
	return netw.Config{
		Root: s.Config.Root, RunRoot: s.Config.RunRoot, ConfDir: c.CNIDir, PluginDirs: c.PluginDirs,
		Default: c.Default, Bridge: c.Bridge, Subnet: c.Subnet, Subnet6: c.Subnet6,
		DefaultRoots: s.Config.DefaultRoots(), Log: s.Log,
		PluginTimeout: time.Duration(c.PluginTimeout) * time.Second,
	}
}

func (s Settled) paths() record.Paths {
	return record.Paths{Root: s.Config.Root, RunRoot: s.Config.RunRoot}
}

// images is the configuration of the image store: the host's own, unless davit
// is on roots of its own.
func (s Settled) images() img.Config {
	c := s.Config
	cfg := img.Config{
		StorageRoot: c.Storage.Root, StorageRunRoot: c.Storage.RunRoot,
		Driver: c.Storage.Driver, Options: c.Storage.Options, Sync: c.Storage.Sync,
		Registries: img.Registries{
			Conf: c.Images.RegistriesConf, ConfDir: c.Images.RegistriesConfDir,
			AuthFile: c.Images.AuthFile, CertsDir: c.Images.CertsDir, Policy: c.Images.Policy,
		},
		TempDir:    c.Images.TempDir,
		BlobCopies: int(c.Images.ParallelTransfers),
		Stall:      max(0, time.Duration(c.Images.StallTimeout)*time.Second),
		Log:        s.Log,
	}
	if !c.DefaultRoots() {
		cfg.Root, cfg.RunRoot = c.Root, c.RunRoot
	}
	return cfg
}
