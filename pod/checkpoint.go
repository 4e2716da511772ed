package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// opCheckpoint is the operation of dumping a pod.
const opCheckpoint = "checkpoint"

// A checkpoint of a pod is a folder with
//
//	checkpoint.json   what is in it, written last: without it there is none
//	containers/<ID>/  the dump of each container, see ctr's Frozen.Dump
const (
	checkpointFile = "checkpoint.json"
	checkpointDir  = "containers"
)

// checkpointVersion is what this davit writes and reads.
const checkpointVersion = 1

// checkpoint is checkpoint.json.
type checkpoint struct {
	Version int       `json:"version"`
	Pod     Kube      `json:"pod"`
	Runtime string    `json:"runtime"` // the handler's binary, by its base name
	Created time.Time `json:"created"`
	// Containers are the folders of the dumps, by the kubelet's names.
	Containers map[string]string `json:"containers"`
}

// checkpointer makes checkpoints of pods, and pods of checkpoints.
type checkpointer struct{ *riser }

// Checkpoint is what to make a pod's checkpoint of, and where.
type Checkpoint struct {
	// Dir is an absolute path of a folder that is there and empty. Nothing is
	// written elsewhere.
	Dir string
	// Containers are the IDs of all containers of the pod that run.
	Containers []string
}

// check refuses what cannot be done whatever the pod is like.
func (k Checkpoint) check(ctx context.Context) error {
	if err := needsDeadline(ctx); err != nil {
		return err
	}
	if len(k.Containers) == 0 {
		return fmt.Errorf("the checkpoint is of no containers: %w", errdefs.ErrInvalidArgument)
	}
	if sorted := slices.Sorted(slices.Values(k.Containers)); len(slices.Compact(sorted)) < len(k.Containers) {
		return fmt.Errorf("a container is named twice: %w", errdefs.ErrInvalidArgument)
	}
	return plainPath(k.Dir)
}

// needsDeadline refuses what is never to go on for ever.
func needsDeadline(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return fmt.Errorf("the call has no deadline: %w", errdefs.ErrInvalidArgument)
	}
	return ctx.Err()
}

func plainPath(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("checkpoint folder %q is not a plain absolute path: %w", dir, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Checkpoint dumps a pod: all its containers are frozen before the first is
// dumped, stay so until the last is, and go on before it returns, on success, on
// an error and at the deadline alike; if this process dies, whoever next sweeps
// lets them go on. ctx must have a deadline. On an error nothing is left in the
// folder, which itself is never removed.
//
// ErrNotFound if there is no such pod, ErrFailedPrecondition if it or a container
// does not run, if the folder is not empty, or if the containers are not exactly
// those that run.
func (c *checkpointer) Checkpoint(ctx context.Context, id string, k Checkpoint) error {
	if err := k.check(ctx); err != nil {
		return err
	}
	s, err := c.GetSandbox(ctx, id)
	if err != nil {
		return err
	}
	id = s.ID
	if s.Status.State != Ready {
		return fmt.Errorf("pod %q is not ready: %w", s.Config.Name, errdefs.ErrFailedPrecondition)
	}
	root, err := emptyFolder(k.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	op, err := c.begin(ctx, id, opCheckpoint)
	if err != nil {
		return err
	}
	err = c.dir.PutFile(id, checkpointFile, outputRecord{k.Dir}, false)
	if err == nil {
		err = op.Advance(ctx, opCheckpoint)
	}
	if err == nil {
		err = c.checkpoint(ctx, s, k, root)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("checkpointing pod %q: %w", s.Config.Name, err), c.undoCheckpoint(op))
	}
	return errors.Join(c.forgetOutput(id), op.End())
}

// outputRecord is where a checkpoint under way is written to.
type outputRecord struct {
	Dir string `json:"dir"`
}

// emptyFolder opens a folder that is there and empty.
func emptyFolder(dir string) (*os.Root, error) {
	fi, err := os.Lstat(dir)
	if err != nil || !fi.IsDir() {
		return nil, fmt.Errorf("checkpoint folder %q is not there or is no folder: %w", dir, errdefs.ErrInvalidArgument)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening checkpoint folder: %w", err)
	}
	f, err := root.Open(".")
	if err == nil {
		_, err = f.Readdirnames(1)
		_ = f.Close()
	}
	switch {
	case errors.Is(err, io.EOF):
		return root, nil
	case err == nil:
		err = fmt.Errorf("checkpoint folder %q is not empty: %w", dir, errdefs.ErrFailedPrecondition)
	}
	_ = root.Close()
	return nil, err
}

// checkpoint freezes, dumps and thaws.
func (c *checkpointer) checkpoint(ctx context.Context, s Sandbox, k Checkpoint, root *os.Root) error {
	names, err := c.runningOf(ctx, s, k.Containers)
	if err != nil {
		return err
	}
	rt, err := c.ctrs.RuntimeBinary(s.Config.Runtime)
	if err != nil {
		return err
	}
	f, err := c.ctrs.Freeze(ctx, k.Containers...)
	if err != nil {
		return err
	}
	out := checkpoint{Version: checkpointVersion, Pod: s.Config.Kube, Runtime: rt, Created: c.o.Now().UTC(), Containers: names}
	err = dumpAll(ctx, f, k)
	if err := errors.Join(err, f.Thaw(ctx)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return root.WriteFile(checkpointFile, text, 0o600)
}

// dumpAll dumps all containers, which stand still.
func dumpAll(ctx context.Context, f *ctr.Frozen, k Checkpoint) error {
	top := filepath.Join(k.Dir, checkpointDir)
	if err := os.Mkdir(top, 0o700); err != nil {
		return err
	}
	for _, id := range k.Containers {
		dir := filepath.Join(top, id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := f.Dump(ctx, id, dir); err != nil {
			return err
		}
	}
	return nil
}

// runningOf are the names, with the IDs, of a pod's containers that run, if they
// are those that are wanted.
func (c *checkpointer) runningOf(ctx context.Context, s Sandbox, want []string) (map[string]string, error) {
	all, err := c.ContainersOf(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, k := range all {
		if k.Config.Infra || !k.Status.Alive() {
			continue
		}
		if !slices.Contains(want, k.ID) {
			return nil, fmt.Errorf("container %q runs and is not to be in the checkpoint: %w", k.Config.Name, errdefs.ErrFailedPrecondition)
		}
		if names[k.Config.Kube.Name] != "" {
			return nil, fmt.Errorf("two containers named %q run: %w", k.Config.Kube.Name, errdefs.ErrFailedPrecondition)
		}
		names[k.Config.Kube.Name] = k.ID
	}
	if len(names) < len(want) {
		return nil, fmt.Errorf("a container of the checkpoint is not one of the pod's that run: %w", errdefs.ErrFailedPrecondition)
	}
	return names, nil
}

// undoCheckpoint removes what a checkpoint has written, and ends its operation.
// The containers go on by their own operations.
func (c *settler) undoCheckpoint(op *record.Op) error {
	var out outputRecord
	err := c.dir.GetFile(op.ID(), checkpointFile, &out)
	if err == nil {
		err = clearOutput(out.Dir)
	}
	if err = ctr.AbsentOK(err); err == nil {
		err = c.forgetOutput(op.ID())
	}
	if err != nil {
		op.Abandon()
		return fmt.Errorf("removing an unfinished checkpoint: %w", err)
	}
	return op.End()
}

// clearOutput removes from a folder what a checkpoint writes, and nothing else.
func clearOutput(dir string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return errors.Join(root.RemoveAll(checkpointDir), root.RemoveAll(checkpointFile))
}

func (c *settler) forgetOutput(id string) error {
	err := os.Remove(filepath.Join(c.dir.RootDir(id), checkpointFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
