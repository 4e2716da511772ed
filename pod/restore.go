package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// Restore is a sandbox to make of a checkpoint.
type Restore struct {
	// Dir is an absolute path of the folder that Checkpoint wrote; nothing in it
	// is changed.
	Dir string
	// Config is the sandbox's, as for Run, Containers those of all containers, as
	// for MakeContainer: what they are is decided here, and not by the checkpoint.
	Config     Config
	Containers []ctr.Config
}

// check refuses what cannot be done whatever the checkpoint is like.
func (r Restore) check(ctx context.Context) error {
	if err := needsDeadline(ctx); err != nil {
		return err
	}
	if err := errors.Join(plainPath(r.Dir), r.Config.Kube.check()); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, k := range r.Containers {
		name := k.Kube.Name
		if err := CheckKubeName("name", name); err != nil {
			return err
		}
		if name == "" || names[name] {
			return fmt.Errorf("container name %q is empty or there twice: %w", name, errdefs.ErrInvalidArgument)
		}
		names[name] = true
		if _, err := fit(r.Config, k); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("there are no containers to restore: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// Restore makes a sandbox, ready, and containers in it, created, whose starts
// restore what Checkpoint dumped. It returns the containers' IDs by their names.
// ctx must have a deadline. On an error nothing is left of what it made.
//
// ErrInvalidArgument if there is no whole checkpoint, ErrAlreadyExists if there is
// such a sandbox already, ErrFailedPrecondition if the checkpoint is not of those
// containers, or of another runtime.
func (c *checkpointer) Restore(ctx context.Context, r Restore) (id string, containers map[string]string, err error) {
	if err := r.check(ctx); err != nil {
		return "", nil, err
	}
	if err := c.ctrs.CheckRuntime(r.Config.Runtime); err != nil {
		return "", nil, err
	}
	if fi, err := os.Stat(r.Dir); err != nil || !fi.IsDir() { // to open a fifo would be to wait
		return "", nil, fmt.Errorf("checkpoint %q is not there or is no folder: %w", r.Dir, errdefs.ErrInvalidArgument)
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return "", nil, fmt.Errorf("opening checkpoint: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	defer func() { _ = root.Close() }()
	k, err := c.readCheckpoint(root, r)
	if err != nil {
		return "", nil, fmt.Errorf("restoring from %q: %w", r.Dir, err)
	}
	r.Config.Name, r.Config.Owner = r.Config.Kube.recordName(), record.OwnerCRI
	s, op, err := c.made(ctx, r.Config)
	if err != nil {
		return "", nil, err
	}
	containers, err = c.restoreAll(ctx, s, root, k, r.Containers)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("restoring pod %q: %w", s.Config.Name, err), c.undo(ctx, op, opCreate))
	}
	return s.ID, containers, op.End()
}

// made makes a sandbox ready and leaves its operation to the caller, so that all
// that is in it goes when the caller dies. It undoes what it cannot do.
func (c *checkpointer) made(ctx context.Context, cfg Config) (Sandbox, *record.Op, error) {
	cfg, err := c.networked(ctx, cfg)
	if err != nil {
		return Sandbox{}, nil, err
	}
	s, op, err := c.create(ctx, ctr.NewID(), cfg, true)
	if err != nil {
		return s, nil, err
	}
	up, err := c.rise(ctx, op, s)
	if err == nil {
		up.keep = true
		err = up.wait(ctx)
	}
	if err == nil {
		s, err = c.Get(ctx, s.ID)
	}
	if err != nil {
		return s, nil, errors.Join(err, c.undo(ctx, op, opCreate))
	}
	return s, op, nil
}

func (c *checkpointer) restoreAll(ctx context.Context, s Sandbox, root *os.Root, k checkpoint, containers []ctr.Config) (map[string]string, error) {
	ids := map[string]string{}
	for _, cfg := range containers {
		cfg, err := kubeContainer(s, cfg)
		if err == nil {
			cfg, err = c.labelled(s.Config, cfg)
		}
		if err != nil {
			return nil, err
		}
		one, err := c.ctrs.CreateRestored(ctx, cfg, root, filepath.Join(checkpointDir, k.Containers[cfg.Kube.Name]))
		if err != nil {
			return nil, err
		}
		ids[cfg.Kube.Name] = one.ID
	}
	return ids, nil
}

// maxCheckpointText bounds checkpoint.json, which somebody else may have written.
const maxCheckpointText = 1 << 20

// readCheckpoint reads what a checkpoint is of and checks that it can be what is
// asked for.
func (c *checkpointer) readCheckpoint(root *os.Root, r Restore) (checkpoint, error) {
	k, err := parseCheckpoint(root)
	if err != nil {
		return k, err
	}
	binary, err := c.ctrs.RuntimeBinary(r.Config.Runtime)
	if err != nil {
		return k, err
	}
	if k.Runtime != binary {
		return k, fmt.Errorf("the checkpoint was made by %q, not by %q: %w", k.Runtime, binary, errdefs.ErrFailedPrecondition)
	}
	var want []string
	for _, cfg := range r.Containers {
		want = append(want, cfg.Kube.Name)
	}
	if have := slices.Sorted(maps.Keys(k.Containers)); !slices.Equal(have, slices.Sorted(slices.Values(want))) {
		return k, fmt.Errorf("the checkpoint is of containers %q, not of %q: %w", have, want, errdefs.ErrFailedPrecondition)
	}
	for name, dir := range k.Containers {
		d, err := ctr.ReadDump(root, filepath.Join(checkpointDir, dir))
		if err != nil {
			return k, err
		}
		if d.Kube.Name != name {
			return k, fmt.Errorf("the dump of container %q is one of %q: %w", name, d.Kube.Name, errdefs.ErrInvalidArgument)
		}
	}
	return k, nil
}

func parseCheckpoint(root *os.Root) (checkpoint, error) {
	var k checkpoint
	f, err := root.OpenFile(checkpointFile, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo would wait for a writer
	if err != nil {
		return k, fmt.Errorf("it has no %s: %w", checkpointFile, errdefs.ErrInvalidArgument)
	}
	defer func() { _ = f.Close() }()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return k, fmt.Errorf("%s is no file: %w", checkpointFile, errdefs.ErrInvalidArgument)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCheckpointText))
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return k, fmt.Errorf("%s: %w: %w", checkpointFile, err, errdefs.ErrInvalidArgument)
	}
	if k.Version != checkpointVersion {
		return k, fmt.Errorf("it is of version %d, this davit knows %d: %w", k.Version, checkpointVersion, errdefs.ErrFailedPrecondition)
	}
	for _, dir := range k.Containers {
		if !filepath.IsLocal(dir) || filepath.Base(dir) != dir || dir == "." {
			return k, fmt.Errorf("%q is no folder of a dump: %w", dir, errdefs.ErrInvalidArgument)
		}
	}
	return k, nil
}

// kubeContainer is a container as MakeContainer would make it in a sandbox.
func kubeContainer(s Sandbox, cfg ctr.Config) (ctr.Config, error) {
	cfg.Sandbox, cfg.Owner, cfg.Runtime, cfg.Name = s.ID, record.OwnerCRI, s.Config.Runtime, containerName(s.Config.Kube, cfg.Kube)
	cfg, err := fit(s.Config, cfg)
	if err != nil {
		return cfg, err
	}
	cfg.Log, err = containerLog(s.Config.LogDir, cfg.Log)
	return cfg, err
}
