package ctr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/logs"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/record"
)

// LogOptions say what of a container's log is wanted.
type LogOptions struct {
	logs.Filter
	Timestamps bool
	// Follow goes on until the container has ended.
	Follow bool
}

// Logs copies a container's log to the sinks, rotated files first.
// ErrFailedPrecondition if the container keeps none.
func (c *sessions) Logs(ctx context.Context, id string, o LogOptions, to logs.Sinks) error {
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	path := c.LogPath(ctr)
	if path == "" {
		return fmt.Errorf("container %q keeps no log (driver %q): %w", ctr.Config.Name, ctr.Config.Log.Driver, errdefs.ErrFailedPrecondition)
	}
	read := logs.Options{
		Path: path, Older: rotated(path), Filter: o.Filter, Timestamps: o.Timestamps, Follow: o.Follow,
	}
	if o.Follow {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.Wait(ctx, id) // gone or ended: nothing more is written
		}()
		read.Done = done
		return logs.Read(ctx, read, to)
	}
	err = logs.Read(ctx, read, to)
	if errdefs.IsNotFound(err) {
		return nil // never started: nothing was written
	}
	return err
}

// defaultLogFiles is how many rotated files are kept beside the log.
const defaultLogFiles = 2

// rotated lists the files that a log was rotated to, oldest first: PATH.2,
// PATH.1.
func rotated(path string) []string {
	var out []string
	for n := defaultLogFiles; n > 0; n-- {
		out = append(out, path+"."+strconv.Itoa(n))
	}
	return out
}

// Tidy does the housekeeping that no process of davit's stays for, and that is done
// whenever davit changes something: logs that have outgrown their limit are
// rotated, of which nothing is lost but what the oldest file held, and what dead
// processes left of volumes is deleted. It is cheap where nothing is to be done.
func (c *sessions) Tidy(ctx context.Context) error {
	c.o.Volumes.Sweep()
	ids, err := c.dir.IDs()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if size, cut := logSize(ownLog(c.records, id)); size < minLogSize && !cut {
			continue
		}
		ctr, err := c.Get(ctx, id)
		if err != nil || ctr.Op != nil || !c.outgrown(ctr) {
			continue // whoever is at work on it now is followed by another
		}
		err = c.change(ctx, id, opRotate, func(op *record.Op, ctr Container) error {
			if !c.outgrown(ctr) {
				return nil
			}
			return c.rotate(ctx, ctr, ownLog(c.records, id))
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("rotating log of container %q: %w", ctr.Config.Name, err))
		}
	}
	return errors.Join(errs...)
}

// outgrown tells whether a running container's log is over its limit, or its rotation
// was cut short, and there is a monitor that can be asked to open a new one.
func (c *sessions) outgrown(ctr Container) bool {
	if !ctr.Status.Alive() || ctr.Config.Log.MaxSize == 0 {
		return false
	}
	size, cut := logSize(ownLog(c.records, ctr.ID))
	mon := ctr.Status.Monitor()
	return (cut || size >= ctr.Config.Log.MaxSize) && mon.Alive() && !mon.Halted()
}

// logSize is the size of a log, 0 where there is none. cut says that its rotation was
// cut short: it was moved aside, and the monitor goes on with it there.
func logSize(path string) (size int64, cut bool) {
	fi, err := os.Lstat(path)
	if err == nil {
		return fi.Size(), false
	}
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Lstat(path + ".1")
	}
	return 0, err == nil
}

// minLogSize is the smallest limit that is looked at.
const minLogSize = 4 << 10

// rotate moves a log aside, unless one that was cut short has done so, and has the
// monitor open a new one. It moves the log back when the monitor could not be asked
// to; one that was asked and did not do it in time may do it later, over what is there.
func (c *sessions) rotate(ctx context.Context, ctr Container, path string) error {
	if _, cut := logSize(path); cut {
		return monitor.ReopenLog(ctx, c.bundle(ctr.ID), path)
	}
	for n := defaultLogFiles; n > 1; n-- {
		older := path + "." + strconv.Itoa(n)
		if err := os.Rename(path+"."+strconv.Itoa(n-1), older); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		return absentOS(err)
	}
	err := monitor.ReopenLog(ctx, c.bundle(ctr.ID), path)
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return errors.Join(err, os.Rename(path+".1", path))
}
