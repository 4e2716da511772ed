package ctr

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/davit-containers/davit/ctr/archive"
	"github.com/davit-containers/davit/ctr/dump"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
)

// opCheckpoint is the operation of dumping; stageFrozen says that the container
// may stand still, stageThawed that it goes on again.
const (
	opCheckpoint = "checkpoint"
	stageFrozen  = "frozen"
	stageThawed  = "thawed"
)

// checkpointTimeout bounds a checkpoint that was given no time.
const checkpointTimeout = 4 * time.Minute

// Dump is what a dump says of the container that it is of: config.dump, whose
// first fields podman and CRI-O write too.
type Dump struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	ImageName    string    `json:"rootfsImageName,omitempty"`
	ImageID      string    `json:"rootfsImageRef,omitempty"`
	Runtime      string    `json:"runtime,omitempty"`
	Created      time.Time `json:"createdTime"`
	Checkpointed time.Time `json:"checkpointedTime"`
	// Process is the one that was dumped, Kube what the kubelet calls the
	// container.
	Process Process `json:"davitProcess"`
	Kube    Kube    `json:"davitKube,omitzero"`
}

// ReadDump reads what the dump in a folder below root is of. ErrInvalidArgument
// if there is no whole dump.
func ReadDump(root *os.Root, dir string) (Dump, error) {
	var d Dump
	text, err := dump.Read(root, dir)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("reading dump %q: %w: %w", dir, err, errdefs.ErrInvalidArgument)
	}
	return d, nil
}

// dumper makes checkpoints.
type dumper struct{ *settler }

// Frozen is containers that stand still together, to be dumped. Each of them is
// under an operation of this process until Thaw, which must be called.
type Frozen struct {
	dumper *dumper
	held   []frozen
}

type frozen struct {
	op  *record.Op
	ctr Container
}

// Freeze stops all processes of running containers and returns when all stand
// still. ErrNotFound if one of them is not there, ErrFailedPrecondition if one
// does not run; none of them stands still then.
func (c *dumper) Freeze(ctx context.Context, ids ...string) (*Frozen, error) {
	f := &Frozen{dumper: c}
	// Two who freeze the same ones must not wait for each other.
	for _, id := range slices.Sorted(slices.Values(ids)) {
		op, err := c.begin(ctx, id, opCheckpoint)
		if err != nil {
			return nil, errors.Join(err, f.Thaw(ctx))
		}
		k, err := c.Get(ctx, id)
		if err == nil && k.Status.State != Running {
			err = fmt.Errorf("container %q is %s, not running: %w", k.Config.Name, k.Status.State, errdefs.ErrFailedPrecondition)
		}
		if err != nil {
			return nil, errors.Join(err, op.End(), f.Thaw(ctx))
		}
		f.held = append(f.held, frozen{op, k})
	}
	var g errgroup.Group
	for _, h := range f.held {
		g.Go(func() error { return c.freeze(ctx, h) })
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, f.Thaw(ctx))
	}
	return f, nil
}

func (c *dumper) freeze(ctx context.Context, h frozen) error {
	rt, err := c.runtime(h.ctr.Config)
	if err != nil {
		return err
	}
	if err := h.op.Advance(ctx, stageFrozen); err != nil {
		return err
	}
	if err := rt.Pause(ctx, h.ctr.ID); err != nil {
		return fmt.Errorf("pausing container %q: %w", h.ctr.Config.Name, err)
	}
	_, err = c.update(ctx, h.ctr, func(s *Status) { s.State = Paused })
	return err
}

// Resume lets the containers go on, each of them whatever becomes of the others,
// also when ctx has ended. They stay under their operations.
func (f *Frozen) Resume(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return f.each(func(h frozen) error {
		now, err := f.dumper.Get(ctx, h.ctr.ID)
		if err != nil || !now.Status.Alive() {
			return AbsentOK(err)
		}
		if err := goOn(ctx, f.dumper.settler, now); err != nil {
			return err
		}
		return h.op.Advance(ctx, stageThawed)
	})
}

// Thaw lets the containers go on that still stand still, and ends the operations.
// It does so when ctx has ended too, and may be repeated. What does not go on
// stays on record, to be thawed by whoever next works on it.
func (f *Frozen) Thaw(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	err := f.each(func(h frozen) error { return f.dumper.thawed(ctx, h) })
	f.held = nil
	return err
}

// each does something with all of them at the same time.
func (f *Frozen) each(do func(frozen) error) error {
	errs := make([]error, len(f.held))
	var g errgroup.Group
	for i, h := range f.held {
		g.Go(func() error {
			errs[i] = do(h)
			return nil
		})
	}
	_ = g.Wait() // it has the errors of none
	return errors.Join(errs...)
}

func (c *dumper) thawed(ctx context.Context, h frozen) error {
	id := h.ctr.ID
	if err := c.undo(ctx, h.op, opCheckpoint); err != nil {
		return err
	}
	if err := c.settleExit(ctx, id); err != nil || c.ended == nil {
		return err
	}
	if now, err := c.Get(ctx, id); err == nil && now.Status.State == Stopped {
		return c.ended(ctx, id)
	}
	return nil
}

// Dump writes one of the containers into an empty folder: its processes
// (checkpoint/), what it has written to its root filesystem (rootfs-diff.tar),
// its spec and what it was made of (spec.dump, config.dump), and CRIU's log.
func (f *Frozen) Dump(ctx context.Context, id, dir string) error {
	i := slices.IndexFunc(f.held, func(h frozen) bool { return h.ctr.ID == id })
	if i < 0 {
		return fmt.Errorf("dumping container %q, which is not frozen: %w", id, errdefs.ErrFailedPrecondition)
	}
	k := f.held[i].ctr
	if err := f.dumper.dump(ctx, k, dir); err != nil {
		return fmt.Errorf("dumping container %q: %w", k.Config.Name, err)
	}
	return nil
}

func (c *dumper) dump(ctx context.Context, k Container, dir string) error {
	rt, err := c.runtime(k.Config)
	if err != nil {
		return err
	}
	images := filepath.Join(dir, dump.Images)
	if err := os.Mkdir(images, 0o700); err != nil {
		return err
	}
	err = rt.Checkpoint(ctx, k.ID, oci.Checkpoint{Images: images, Work: dir, LeaveRunning: true, TCPEstablished: true, FileLocks: true})
	if err != nil {
		return err
	}
	if err := c.dumpRootfs(ctx, k, filepath.Join(dir, dump.Rootfs)); err != nil {
		return err
	}
	spec, err := os.ReadFile(filepath.Join(c.bundle(k.ID), "config.json"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, dump.Spec), spec, 0o600); err != nil {
		return err
	}
	text, err := json.MarshalIndent(Dump{
		ID: k.ID, Name: cmp.Or(k.Config.Kube.Name, k.Config.Name), ImageName: cmp.Or(k.Config.Image.Name, k.Config.Image.Ref), ImageID: k.Config.Image.ID,
		Runtime: rt.Name, Created: k.Created, Checkpointed: c.o.Now().UTC(), Process: k.Config.Process, Kube: k.Config.Kube,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, dump.Config), text, 0o600)
}

// dumpRootfs writes what the container has changed in its image, as a layer.
func (c *dumper) dumpRootfs(ctx context.Context, k Container, path string) (err error) {
	layers, err := c.o.Layers(ctx)
	if err != nil {
		return err
	}
	diff, err := layers.LayerDiff(ctx, k.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, diff.Close()) }()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, diff)
	return errors.Join(err, f.Close())
}

// checkpointTemp is the beginning of the name of a folder that a checkpoint is
// made in; checkpointFile is where it is on record, for the case that nobody is
// left to remove it.
const (
	checkpointTemp = ".davit-checkpoint-"
	checkpointFile = "checkpoint.json"
)

type checkpointRecord struct {
	Temp string `json:"temp"`
}

// Checkpoint dumps a running container into a tar archive, readable by root
// alone, and lets it go on. The archive is written beside location, an absolute
// path in a folder that exists, and put there when it is whole; what was there is
// replaced. A timeout of 0 is four minutes.
func (c *dumper) Checkpoint(ctx context.Context, id, location string, timeout time.Duration) error {
	if !filepath.IsAbs(location) || filepath.Clean(location) != location || location == "/" {
		return fmt.Errorf("checkpoint location %q is not a plain absolute path: %w", location, errdefs.ErrInvalidArgument)
	}
	if fi, err := os.Lstat(location); err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("checkpoint location %q is not a file: %w", location, errdefs.ErrInvalidArgument)
	}
	if fi, err := os.Stat(filepath.Dir(location)); err != nil || !fi.IsDir() {
		return fmt.Errorf("checkpoint location %q is in no folder: %w", location, errdefs.ErrInvalidArgument)
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(timeout, checkpointTimeout))
	defer cancel()
	f, err := c.Freeze(ctx, id)
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(location), checkpointTemp+id)
	err = c.dir.PutFile(id, checkpointFile, checkpointRecord{temp}, false)
	if err == nil {
		err = c.dumpInto(ctx, f, id, temp)
	}
	err = errors.Join(err, f.Resume(ctx))
	if err == nil {
		err = archive.PackFile(ctx, temp, temp+".tar", location)
	}
	if err := errors.Join(err, f.Thaw(ctx)); err != nil {
		return fmt.Errorf("checkpointing container %q: %w", id, err)
	}
	return nil
}

func (c *dumper) dumpInto(ctx context.Context, f *Frozen, id, temp string) error {
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	return f.Dump(ctx, id, temp)
}

// undoCheckpoint lets a container go on that may stand still for a checkpoint,
// and removes what there is of that.
func undoCheckpoint(ctx context.Context, c *settler, op *record.Op, ctr Container) error {
	stage := op.Stage()
	if prior, dead := op.Prior(); dead {
		stage = prior.Stage
	}
	return Undo(
		func() error {
			switch {
			case !ctr.Status.Alive():
				return c.finish(ctx, ctr)
			case stage == stageFrozen:
				return goOn(ctx, c, ctr)
			}
			return nil
		},
		func() error { return dropCheckpoint(c, ctr.ID) },
	)
}

// dropCheckpoint removes the folder that a checkpoint was made in, whoever did.
func dropCheckpoint(c *settler, id string) error {
	var r checkpointRecord
	err := c.dir.GetFile(id, checkpointFile, &r)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if strings.HasPrefix(filepath.Base(r.Temp), checkpointTemp) && filepath.IsAbs(r.Temp) {
		if err := errors.Join(os.RemoveAll(r.Temp), absentOS(os.Remove(r.Temp+".tar"))); err != nil {
			return fmt.Errorf("removing an unfinished checkpoint: %w", err)
		}
	}
	return absentOS(os.Remove(filepath.Join(c.dir.RootDir(id), checkpointFile)))
}

// goOn thaws a container that may be frozen, whatever is recorded.
func goOn(ctx context.Context, c *settler, ctr Container) error {
	ctr.Status.State = Paused
	if err := c.thaw(ctx, ctr); err != nil {
		return err
	}
	_, err := c.update(ctx, ctr, func(s *Status) {
		if s.Alive() {
			s.State = Running
		}
	})
	return err
}

// fits refuses to restore what is not the process that a container was asked to
// be: a dump says what the process is and decides nothing else.
func (d Dump) fits(cfg Config) error {
	env := func(p Process) []string { return slices.Compact(slices.Sorted(slices.Values(p.Env))) }
	a, b := d.Process, cfg.Process
	for _, c := range []struct {
		what string
		same bool
	}{
		{"image", d.ImageID == cfg.Image.ID},
		{"command", slices.Equal(a.Args, b.Args)},
		{"environment", slices.Equal(env(a), env(b))},
		{"working directory", a.WorkingDir == b.WorkingDir},
		{"user", a.User == b.User && slices.Equal(a.Groups, b.Groups)},
		{"terminal", a.Terminal == b.Terminal},
	} {
		if !c.same {
			return fmt.Errorf("the %s of container %q is not that of the dump: %w", c.what, cfg.Name, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// restorer makes containers of dumps.
type restorer struct {
	*creator
	stopper *stopper
}

// CreateRestored is Create for a container whose first start restores the
// processes of the dump in a folder below root, in place of starting its own. The
// dump is copied and may go afterwards. All that the container is comes from cfg,
// which must be of the process that was dumped: ErrFailedPrecondition otherwise.
func (c *restorer) CreateRestored(ctx context.Context, cfg Config, root *os.Root, dir string) (Container, error) {
	d, err := ReadDump(root, dir)
	if err != nil {
		return Container{}, err
	}
	cfg.Restore = true
	k, err := c.Create(ctx, cfg)
	if err != nil {
		return k, err
	}
	if err = d.fits(k.Config); err == nil {
		err = c.fill(ctx, k, root, dir)
	}
	if err != nil {
		ctx := context.WithoutCancel(ctx)
		return k, errors.Join(err, AbsentOK(c.stopper.Remove(ctx, k.ID, RemoveOptions{Force: true, Timeout: AtOnce(), Volumes: true})))
	}
	return k, nil
}

// fill copies the process images to the container's record, and what was written
// to its root filesystem to that.
func (c *restorer) fill(ctx context.Context, k Container, root *os.Root, dir string) error {
	to := restoreDir(c.records, k.ID)
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("copying dump of container %q: %w", k.Config.Name, err)
	}
	if err := dump.CopyImages(ctx, root, dir, to); err != nil {
		return fmt.Errorf("copying dump of container %q: %w", k.Config.Name, err)
	}
	diff, err := dump.Open(root, filepath.Join(dir, dump.Rootfs))
	if err != nil {
		return fmt.Errorf("restoring root filesystem of container %q: %w", k.Config.Name, err)
	}
	defer func() { _ = diff.Close() }()
	layers, err := c.o.Layers(ctx)
	if err != nil {
		return err
	}
	return layers.ApplyLayerDiff(ctx, k.ID, diff)
}

// restoreDir holds the process images of a container that is to be restored.
func restoreDir(c *records, id string) string { return filepath.Join(c.dir.RootDir(id), dump.Images) }

// restores tells whether the next start of a container restores its processes.
func restores(ctr Container) bool { return ctr.Config.Restore && ctr.Status.Start == 0 }

// restored tells whether the start that a container is prepared for has restored its
// processes, which run then.
func restored(ctr Container) bool { return ctr.Config.Restore && ctr.Status.Start == 1 }

// restoration is how the monitor is to make a container's processes.
func restoration(c *records, ctr Container) monitor.Restore {
	if !restores(ctr) {
		return monitor.Restore{}
	}
	return monitor.Restore{Images: restoreDir(c, ctr.ID), Options: []string{"--tcp-established", "--file-locks"}}
}
