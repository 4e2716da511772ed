package ctr

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/cdi"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/img"
)

// Operations on a container, as they are written down.
const (
	opCreate = "create"
	opStart  = "start"
	opStop   = "stop"
	opExit   = "exit"
	opRemove = "remove"
	opPause  = "pause"
	opMount  = "mount"
	opRotate = "rotate"
	opJoin   = "join"
	opUpdate = "update"
)

// Stages of creating.
const (
	stageRecord = "record"
	stageRootfs = "rootfs"
)

// LogNone is the log driver that writes nothing.
const LogNone = "none"

// NewID makes a full ID: 64 hex digits.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// Create records a container and makes its root filesystem from a local image;
// it never pulls. The container is then Created and holds its image, but
// nothing runs. A name that is taken is *record.NameTakenError; an image that is
// absent is ErrNotFound. On an error nothing is left.
func (c *creator) Create(ctx context.Context, cfg Config) (Container, error) {
	k, op, err := c.begun(ctx, cfg)
	if err != nil {
		return Container{}, err
	}
	return k, op.End()
}

// CreateBeside is Create for a container whose sandbox is being recorded at the same
// time. It returns when recorded has, and with an error of that undoes what it has
// made: there is no moment, of a crash either, at which the container is there for good
// and its sandbox is not.
func (c *creator) CreateBeside(ctx context.Context, cfg Config, recorded func() error) (Container, error) {
	k, op, err := c.begun(ctx, cfg)
	if err != nil {
		return Container{}, err
	}
	if err := recorded(); err != nil {
		return Container{}, errors.Join(err, c.undo(ctx, op, opCreate))
	}
	return k, op.End()
}

// begun is Create but for the end of its operation.
func (c *creator) begun(ctx context.Context, cfg Config) (Container, *record.Op, error) {
	id := cfg.ID
	if id == "" {
		id = NewID()
	}
	cfg, image, err := c.complete(ctx, id, cfg)
	if err != nil {
		return Container{}, nil, err
	}
	now := c.o.Now()
	meta := record.Meta{ID: id, Owner: cfg.Owner, Key: cfg.Name, Created: now}
	var op *record.Op
	err = record.Claiming(ctx, func() error {
		op, err = c.dir.Create(ctx, meta, cfg, Status{State: Creating},
			record.CreateOptions{Durable: !cfg.Remove, Stage: stageRecord})
		return err
	}, c.leaves)
	if err != nil {
		return Container{}, nil, fmt.Errorf("recording container %q: %w", cfg.Name, err)
	}
	if err := c.create(ctx, op, cfg, image); err != nil {
		return Container{}, nil, errors.Join(err, c.undo(ctx, op, opCreate))
	}
	status := Status{State: Created}
	if _, err := c.dir.Update(ctx, id, func(Status) (Status, error) { return status, nil }); err != nil {
		return Container{}, nil, errors.Join(fmt.Errorf("recording container %q: %w", cfg.Name, err), c.undo(ctx, op, opCreate))
	}
	return Container{ID: id, Created: now, Config: cfg, Status: status}, op, nil
}

// leaves tells whether a container that has a name is on its way out, and waits
// until it has gone: it is being removed, has ended and removes itself, or is being
// settled, which may be the undoing of how it came to be. What has died on that way
// is helped along.
func (c *creator) leaves(ctx context.Context, id string) (bool, error) {
	k, err := c.Get(ctx, id)
	if err == nil {
		ended := k.Config.Remove && k.Status.State == Stopped
		settled := k.Op != nil && k.Op.Kind == opExit && !k.Status.Alive()
		if k.Status.State != Removing && !ended && !settled {
			return false, nil
		}
		err = c.change(ctx, id, opJoin, func(*record.Op, Container) error { return nil })
	}
	if err == nil && c.ended != nil {
		err = c.ended(ctx, id)
	}
	if err == nil {
		_, err = c.Get(ctx, id)
	}
	return errdefs.IsNotFound(err), AbsentOK(err)
}

// create makes what a record stands for.
func (c *creator) create(ctx context.Context, op *record.Op, cfg Config, image img.Image) error {
	if err := op.Advance(ctx, stageRootfs); err != nil {
		return err
	}
	if err := c.ensureVolumes(ctx, cfg); err != nil {
		return err
	}
	if err := failpoint.Reach(ctx, failpoint.ContainerVolumes); err != nil {
		return err
	}
	if err := c.createImageMounts(ctx, op.ID(), cfg); err != nil {
		return err
	}
	if cfg.Rootfs != "" {
		return nil
	}
	images, err := c.o.Images(ctx)
	if err != nil {
		return err
	}
	_, err = images.CreateRootfs(ctx, img.RootfsConfig{
		ID: op.ID(), Image: image.ID, Name: cfg.Name, Volatile: cfg.volatile(),
		MountLabel: cfg.Security.SELinux.MountLabel,
		UIDMap:     imageMap(cfg.Namespaces.UIDMappings), GIDMap: imageMap(cfg.Namespaces.GIDMappings),
	})
	if err != nil {
		return fmt.Errorf("creating root filesystem of container %q: %w", cfg.Name, err)
	}
	return nil
}

// match is what a short name of an image means: no guess where nobody types, and
// what the policy accepts only, whoever has changed it or the name since the pull.
func (cfg Config) match() img.Match {
	if cfg.Owner == record.OwnerCRI {
		return img.MatchAllowed
	}
	return img.MatchSimilar
}

// volatile says whether what the container writes need not survive a power cut.
func (cfg Config) volatile() bool { return cfg.Remove || cfg.Owner == record.OwnerCRI }

func imageMap(list []spec.IDMapping) []img.IDMap {
	var out []img.IDMap
	for _, m := range list {
		out = append(out, img.IDMap{Container: int(m.ContainerID), Host: int(m.HostID), Size: int(m.Size)})
	}
	return out
}

// complete fills a Config in from its image and names what has no name.
func (c *creator) complete(ctx context.Context, id string, cfg Config) (Config, img.Image, error) {
	var image img.Image
	if cfg.Owner == "" {
		cfg.Owner = record.OwnerCLI
	}
	if cfg.Sandbox == "" {
		return cfg, image, fmt.Errorf("container without a sandbox: %w", errdefs.ErrInvalidArgument)
	}
	if cfg.Name == "" {
		cfg.Name = id[:12]
	}
	if cfg.Rootfs == "" {
		images, err := c.o.Images(ctx)
		if err != nil {
			return cfg, image, err
		}
		resolved := record.Span(ctx, "image resolve", id)
		image, err = images.ResolveAs(ctx, cfg.Image.Ref, cfg.match())
		resolved()
		if err != nil {
			if errdefs.IsNotFound(err) && cfg.Owner == record.OwnerCRI {
				err = fmt.Errorf("it is to be pulled first: %w", err)
			}
			return cfg, image, err
		}
		cfg.Image.ID = image.ID
		if len(image.Names) > 0 {
			cfg.Image.Name = image.Names[0]
			cfg.Image.Digested = digested(image)
		}
	}
	for _, name := range cfg.CDIDevices {
		if err := cdi.CheckName(name); err != nil {
			return cfg, image, err
		}
	}
	if err := readSeccomp(&cfg); err != nil {
		return cfg, image, err
	}
	cfg, err := c.resolveImageMounts(ctx, cfg)
	if err != nil {
		return cfg, image, err
	}
	p, err := mergeProcess(image.Config, cfg.Process)
	if err != nil {
		return cfg, image, err
	}
	cfg.Process = p
	if cfg.Stop.Signal == "" {
		cfg.Stop.Signal = imageSignal(image.Config)
	}
	cfg.Health = mergeHealth(cfg, image.Config)
	return nameVolumes(cfg, image.Config), image, nil
}

// imageSignal is the signal that stops an image's containers where it names one, and
// none where it names what is none: that is to keep nobody from stopping them.
func imageSignal(image img.ImageConfig) string {
	if _, err := spec.ParseSignal(image.StopSignal); err != nil {
		return ""
	}
	return image.StopSignal
}

// The health check that a container has where neither user nor image say more.
const (
	healthInterval = 30 * time.Second
	healthTimeout  = 30 * time.Second
	healthRetries  = 3
)

// imageInterval is the least time between two checks that an image may ask for.
const imageInterval = time.Second

// mergeHealth is the health check of a container of the command line: what was
// asked for, the rest from the image. The kubelet checks its containers itself.
func mergeHealth(cfg Config, image img.ImageConfig) *Health {
	if cfg.Owner == record.OwnerCRI || cfg.Infra {
		return nil
	}
	var h Health
	if cfg.Health != nil {
		h = *cfg.Health
	}
	from := imageHealth(image)
	if len(h.Test) == 0 {
		h.Test = from.Test
		if len(h.Test) == 2 && h.Test[0] == "CMD-SHELL" && len(image.Shell) > 0 {
			h.Test = slices.Concat([]string{"CMD"}, image.Shell, h.Test[1:])
		}
	}
	if len(h.Test) < 2 { // none, or NONE
		return nil
	}
	h.Interval = cmp.Or(h.Interval, from.Interval, healthInterval)
	h.Timeout = cmp.Or(h.Timeout, from.Timeout, healthTimeout)
	h.StartPeriod = cmp.Or(h.StartPeriod, from.StartPeriod)
	h.Retries = cmp.Or(h.Retries, from.Retries, healthRetries)
	h.OnFailure = cmp.Or(h.OnFailure, HealthNone)
	return &h
}

// imageHealth is an image's check without what nobody may impose on a host: checks
// without a pause, or without an end. What is negative is not said.
func imageHealth(image img.ImageConfig) img.Healthcheck {
	if image.Healthcheck == nil {
		return img.Healthcheck{}
	}
	h := *image.Healthcheck
	if h.Interval > 0 {
		h.Interval = max(h.Interval, imageInterval)
	}
	h.Interval, h.Timeout, h.StartPeriod = max(0, h.Interval), max(0, h.Timeout), max(0, h.StartPeriod)
	h.Retries = max(0, h.Retries)
	return h
}

// digested is the first name of an image with its digest in place of a tag.
func digested(image img.Image) string {
	name, _, ok := strings.Cut(image.Names[0], "@")
	switch {
	case image.Digest == "":
		return ""
	case ok:
		return image.Names[0]
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	return name + "@" + image.Digest
}

// mergeProcess fills a process in from the image's configuration.
func mergeProcess(image img.ImageConfig, p Process) (Process, error) {
	merged, err := spec.MergeProcess(
		spec.ImageProcess{
			Entrypoint: image.Entrypoint, Cmd: image.Cmd, Env: image.Env,
			WorkingDir: image.WorkingDir, User: image.User,
		},
		spec.Overrides{
			Entrypoint: p.Entrypoint, Command: p.Command, Env: p.Env,
			WorkingDir: p.WorkingDir, User: p.User, Terminal: p.Terminal,
			Container: "davit",
		})
	if err != nil {
		return p, err
	}
	p.Args, p.Env, p.WorkingDir, p.User = merged.Args, merged.Env, merged.Cwd, merged.User.Ref
	return p, nil
}
