package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
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
	Images   *img.Store
	Networks *netw.Attacher

	settled Settled
	booted  bool
}

// Settled is what the parts are opened with.
type Settled struct {
	Config *Config
	Log    *slog.Logger
}

// Reexec does the work of a child process of the engine's libraries, and answers
// true when this process is one: it then has nothing more to do.
func Reexec() bool { return img.Reexec() }

// Open opens parts that are not open yet.
func (e *Engine) Open(ctx context.Context, s Settled, parts ...Part) error {
	e.settled = s
	if !e.booted {
		if _, err := record.EnsureBoot(s.paths()); err != nil {
			return fmt.Errorf("opening davit's state: %w", err)
		}
		e.booted = true
	}
	for _, p := range parts {
		var err error
		switch p {
		case Images:
			_, err = e.openImages(ctx)
		case Networks:
			err = e.openNetworks()
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
	if e.Images != nil {
		return e.Images, nil
	}
	store, err := img.Open(ctx, e.settled.images())
	if err != nil {
		return nil, err
	}
	e.Images = store
	return store, nil
}

func (e *Engine) openNetworks() error {
	if e.Networks != nil {
		return nil
	}
	networks, err := netw.New(e.settled.networks())
	if err != nil {
		return err
	}
	e.Networks = networks
	return nil
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
		Driver: c.Storage.Driver, Options: c.Storage.Options,
		Registries: img.Registries{
			Conf: c.Images.RegistriesConf, ConfDir: c.Images.RegistriesConfDir,
			AuthFile: c.Images.AuthFile, CertsDir: c.Images.CertsDir, Policy: c.Images.Policy,
		},
		TempDir:    c.Images.TempDir,
		BlobCopies: int(c.Images.ParallelTransfers),
		Log:        s.Log,
	}
	if !c.DefaultRoots() {
		cfg.Root, cfg.RunRoot = c.Root, c.RunRoot
	}
	return cfg
}

func (s Settled) networks() netw.Config {
	n := s.Config.Network
	return netw.Config{
		Root: s.Config.Root, RunRoot: s.Config.RunRoot, ConfDir: n.CNIDir, PluginDirs: n.PluginDirs,
		Default: n.Default, Bridge: n.Bridge, Subnet: n.Subnet, Subnet6: n.Subnet6,
		DefaultRoots: s.Config.DefaultRoots(), Log: s.Log,
	}
}
