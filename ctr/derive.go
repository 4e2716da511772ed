package ctr

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/record"
)

// lastExit is the durable copy of the last start and of how it ended; it is
// written without a sync, so a machine that loses power may lose it.
type lastExit struct {
	Start      int       `json:"start"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	ExitCode   int       `json:"exitCode"`
	CodeKnown  bool      `json:"codeKnown"`
	OOMKilled  bool      `json:"oomKilled,omitempty"`
	// StartError is why the container could not be started.
	StartError string `json:"startError,omitempty"`
}

const exitRecord = "exit.json"

// derive checks a recorded status against the evidence, in this order: the
// process (by start time, so that a reused pid is no evidence), the monitor, and
// only when that is gone the exit file. It writes nothing.
func (c *records) derive(e record.Entry[Config, Status]) Container {
	out := Container{ID: e.ID, Created: e.Created, Config: e.Config, Status: e.Status, Op: e.Op,
		monitor: e.Status.Monitor()}
	if e.Key != "" {
		out.Config.Name = e.Key // it may have been renamed
	}
	switch {
	case e.Lost:
		out.Status = c.afterReboot(e.ID)
	case e.Damaged != nil:
		out.Status = found(c, e.ID)
		out.Status.Message = strings.TrimPrefix(out.Status.Message+"; its status cannot be read: "+e.Damaged.Error(), "; ")
	case e.Status.Alive():
		out.Status = c.evidence(e.ID, e.Status)
	case e.Status.Prepared && !c.held.Alive(e.Status.Process()):
		out.Status.Prepared = false
	}
	return out
}

// update changes a container's status; one that a reboot took is what derive
// made of it before f sees it.
func (c *records) update(ctx context.Context, ctr Container, f func(*Status)) (Status, error) {
	s, err := c.dir.Update(ctx, ctr.ID, func(s Status) (Status, error) {
		if s.State == "" {
			s = ctr.Status
		}
		f(&s)
		return s, nil
	})
	if err != nil {
		return s, fmt.Errorf("updating status of container %q: %w", ctr.Config.Name, err)
	}
	return s, nil
}

// afterReboot is the status of a container whose run files are gone.
func (c *records) afterReboot(id string) Status {
	var last lastExit
	var changed settings
	_ = c.dir.GetFile(id, settingsFile, &changed) // lost with the power: as it was made
	err := c.dir.GetFile(id, exitRecord, &last)
	s := Status{State: Created, Limits: changed.Limits, Restart: changed.Restart}
	if errdefs.IsNotFound(err) || (err == nil && last.Start == 0) {
		return s
	}
	s.State, s.Reason, s.Message, s.Rebooted, s.ExitCode = Stopped, ReasonReboot, RebootMessage, true, -1
	s.StoppedByUser = stoppedByUser(c, id)
	if err != nil {
		return s
	}
	s.Start, s.StartedAt = last.Start, last.StartedAt
	if !last.FinishedAt.IsZero() {
		s.FinishedAt, s.ExitCode, s.CodeKnown, s.OOMKilled = last.FinishedAt, last.ExitCode, last.CodeKnown, last.OOMKilled
		s.Reason, s.Message = exitReason(s), ""
		if last.StartError != "" {
			s.Reason, s.Message = ReasonStartError, last.StartError
		}
	}
	return s
}

// found is the status of a container whose own cannot be read: what its folders,
// its bundle and its process tell. One that waits to be started counts as running.
func found(c *records, id string) Status {
	s := c.afterReboot(id)
	if s.Reason == ReasonReboot {
		s.Reason, s.Message = ReasonError, ""
	}
	starts, _ := filepath.Glob(filepath.Join(c.dir.RunDir(id), "start.*"))
	for _, dir := range starts {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "start.")); err == nil {
			s.Start = max(s.Start, n)
		}
	}
	bundle, err := readBundle(c.bundle(id))
	if err != nil {
		return s
	}
	s.Mounted, s.Cgroup = bundle.Root.Path, bundle.Linux.CgroupsPath
	if path, err := cgroup.ScopePath(s.Cgroup); err == nil {
		s.Cgroup = path
	}
	alive := s
	alive.State, alive.Reason = Running, ""
	if s.StartedAt.IsZero() {
		alive.StartedAt = c.o.Now()
	}
	pid, mon := processOf(id, filepath.Join(c.bundle(id), "pidfile"))
	var of monitor.Started
	of.Process, _ = record.ProcessOf(pid)
	of.Monitor, _ = record.ProcessOf(mon)
	alive.setProcesses(of)
	return c.evidence(id, alive)
}

// processOf is the process that a monitor has written down for a container, and
// the monitor, each 0 where it is not there any more: a pid may be another's by
// now, which neither has the container's cgroup nor its monitor for a parent.
func processOf(id, pidFile string) (pid, monitor int) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, 0
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return 0, 0
	}
	has := func(pid int, file string) bool {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
		return err == nil && strings.Contains(string(data), id)
	}
	parent, err := record.ProcessParent(pid)
	switch {
	case err == nil && parent > 1 && has(parent, "cmdline"):
		return pid, parent
	case err == nil && has(pid, "cgroup"):
		return pid, 0
	}
	return 0, 0
}

// evidence is the status of a container that is recorded as alive.
func (c *records) evidence(id string, s Status) Status {
	if c.held.Alive(s.Process()) {
		if s.Reason == "" && !c.held.Alive(s.Monitor()) {
			s.Reason, s.Message = ReasonMonitorLost, "its monitor has died: its output is lost from now on, and how it ends will not be known"
		}
		return s
	}
	exit, found, err := monitor.ReadExit(c.persist(id, s.Start))
	if err == nil && found {
		return s.stopped(exit)
	}
	if c.held.Alive(s.Monitor()) {
		return s // still exiting: the monitor drains the streams first
	}
	// The monitor may have written the file and gone between the two looks.
	exit, found, err = monitor.ReadExit(c.persist(id, s.Start))
	if err == nil && found {
		return s.stopped(exit)
	}
	return s.stopped(monitor.Exit{Lost: true, Finished: c.o.Now()})
}

// stopped is the status after an exit.
func (s Status) stopped(e monitor.Exit) Status {
	s.State, s.Prepared = Stopped, false
	s.setProcesses(monitor.Started{})
	s.FinishedAt, s.ExitCode, s.CodeKnown, s.OOMKilled = e.Finished, e.Code, !e.Lost, e.OOM
	if early := s.StartedAt.Sub(e.Finished); early > 0 && early <= fileTick {
		s.FinishedAt = s.StartedAt
	}
	s.Message = ""
	if e.Lost {
		s.ExitCode, s.Reason = -1, ReasonMonitorLost
		s.Message = "the monitor died before it could record an exit code"
		return s
	}
	s.Reason = exitReason(s)
	return s
}

// fileTick is how far the time of a file, which is when an exit was written down, may
// be behind the clock: a tick of the kernel (CONFIG_HZ). A clock that was set is more.
const fileTick = 10 * time.Millisecond

func exitReason(s Status) string {
	switch {
	case s.OOMKilled:
		return ReasonOOMKilled
	case s.ExitCode == 0:
		return ReasonCompleted
	default:
		return ReasonError
	}
}

// Exit is how a container's process ended.
type Exit struct {
	Code int
	// Known is false when nobody saw it end; Code is then -1.
	Known     bool
	OOMKilled bool
	Finished  time.Time
}

// Wait returns when the container is stopped. It waits for one that was not
// started yet, too. A container that is removed meanwhile ends it with
// ErrNotFound.
func (c *records) Wait(ctx context.Context, id string) (Exit, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var changes <-chan record.Event // not for one that runs: an inotify instance takes its time to close
	for {
		ctr, err := c.Get(ctx, id)
		if err != nil {
			return Exit{}, err
		}
		s := ctr.Status
		switch {
		case !s.Prepared && (s.State == Stopped || (s.State == Removing && !s.FinishedAt.IsZero())):
			return Exit{Code: s.ExitCode, Known: s.CodeKnown, OOMKilled: s.OOMKilled, Finished: s.FinishedAt}, nil
		case s.Alive(), s.Prepared:
			e, err := monitor.Wait(ctx, monitor.WaitConfig{
				PersistDir: c.persist(id, s.Start), Monitor: s.Monitor(), Process: s.Process(),
			})
			if err != nil {
				return Exit{}, fmt.Errorf("waiting for container %q: %w", id, err)
			}
			if e.Lost && s.Process().Alive() {
				if err := monitor.AwaitGone(ctx, s.Process()); err != nil {
					return Exit{}, fmt.Errorf("waiting for container %q: %w", id, err)
				}
				continue
			}
			s = s.stopped(e)
			return Exit{Code: s.ExitCode, Known: s.CodeKnown, OOMKilled: s.OOMKilled, Finished: s.FinishedAt}, nil
		}
		if changes == nil {
			if changes, err = c.dir.Watch(ctx); err != nil {
				return Exit{}, fmt.Errorf("watching container %q: %w", id, err)
			}
			continue // it may have changed before
		}
		select {
		case <-ctx.Done():
			return Exit{}, ctx.Err()
		case <-changes:
		}
	}
}
