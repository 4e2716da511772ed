package ctr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/logs"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
)

// Streams are a client's ends of a container's standard streams.
type Streams struct {
	// Stdin is copied to the container; nil sends nothing.
	Stdin io.Reader
	// Stdout and Stderr receive the output; a nil one is dropped. With a
	// terminal everything comes on Stdout.
	Stdout, Stderr io.Writer
	// Resize delivers the client's terminal sizes; nil where it has none.
	Resize <-chan Size
	// DetachKeys is the byte sequence that ends the session and leaves the
	// container alone; empty disables it.
	DetachKeys []byte
	// Dropped, where it is set, keeps an attached client from holding the
	// container up: output that it does not take in time is thrown away, and
	// Dropped is told how many bytes were, between what came before and after.
	Dropped func(bytes int64)
	// Patience, where Dropped is not set, is how long an attached client may hold
	// the container up: one that takes nothing for so long is given up, which is
	// context.DeadlineExceeded. 0 is for ever.
	Patience time.Duration
}

// Session is a client that is attached to a container.
type Session struct {
	conn    *monitor.Attachment
	streams Streams
	stdin   bool
	ended   chan struct{}
	once    sync.Once
}

// Attach connects to a running or prepared container's streams. What it writes
// from now on reaches the client, or holds the container up until Wait is
// called. ErrFailedPrecondition if it does not run.
func (c *sessions) Attach(ctx context.Context, id string, s Streams) (*Session, error) {
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ctr.Status.Alive() && !ctr.Status.Prepared {
		return nil, fmt.Errorf("container %q is %s, not running: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
	}
	conn, err := monitor.Connect(ctx, monitor.SocketPath(c.bundle(id)))
	if err != nil {
		return nil, fmt.Errorf("attaching to container %q: %w", ctr.Config.Name, err)
	}
	return &Session{conn: conn, streams: s, stdin: ctr.Config.Process.Stdin, ended: make(chan struct{})}, nil
}

// Wait copies the streams until the container has ended or ctx does, or the
// client has typed its detach keys, which detached says. It closes the session.
func (s *Session) Wait(ctx context.Context) (detached bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.streams.Resize != nil {
		go s.resize(ctx)
	}
	if s.stdin && s.streams.Stdin != nil {
		go func() {
			err := copyInput(s.conn, s.streams.Stdin, s.streams.DetachKeys)
			if errors.Is(err, ErrDetached) {
				cancel(ErrDetached)
				return
			}
			_ = s.conn.CloseStdin() // the container may be gone
		}()
	}
	out := monitor.Output{Stdout: s.streams.Stdout, Stderr: s.streams.Stderr, Policy: monitor.Block, Patience: s.streams.Patience, Ended: s.ended}
	if s.streams.Dropped != nil {
		out.Policy, out.Dropped = monitor.Drop, s.streams.Dropped
	}
	err = s.conn.Copy(ctx, out)
	if errors.Is(context.Cause(ctx), ErrDetached) {
		return true, s.Close()
	}
	return false, errors.Join(err, s.Close())
}

// Ended says that the container's exit is recorded: Wait then returns as soon as
// it has copied what is there. It may be called more than once.
func (s *Session) Ended() { s.once.Do(func() { close(s.ended) }) }

// Close ends the session; the container goes on.
func (s *Session) Close() error {
	if err := s.conn.Close(); err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, unix.EBADF) {
		return err
	}
	return nil
}

// resize follows the client's terminal. A monitor that is gone needs no size.
func (s *Session) resize(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-s.streams.Resize:
			if !ok || s.conn.Resize(size.Width, size.Height) != nil {
				return
			}
		}
	}
}

// monitorConfig is the monitor of start n of a container.
func (c *starter) monitorConfig(ctr Container, rt oci.Runtime, n int) (monitor.Config, error) {
	path, err := rt.Binary()
	if err != nil {
		return monitor.Config{}, err
	}
	log, err := c.openLog(ctr)
	if err != nil {
		return monitor.Config{}, err
	}
	cfg := ctr.Config
	place, err := c.placement(cfg)
	if err != nil {
		return monitor.Config{}, err
	}
	verb := "create"
	if restores(ctr) {
		verb = "restore"
	}
	return monitor.Config{
		Placement: place, Restore: restoration(c.records, ctr),
		Path: c.o.Monitor, ID: ctr.ID, Name: cfg.Name,
		Runtime: monitor.Runtime{
			Path: path, Args: rt.GlobalArgs(),
			Failure: func(raw string) error { return rt.ParseError(verb, raw) },
			Timeout: 2 * oci.DeadlineOf(rt), // a process is more than any other verb makes
		},
		Paths: monitor.Paths{
			Bundle: c.bundle(ctr.ID), PersistDir: c.persist(ctr.ID, n), ExitDir: c.exitDir(), Log: log,
		},
		Streams: monitor.Streams{
			Terminal: cfg.Process.Terminal, Stdin: cfg.Process.Stdin, StdinOnce: cfg.Process.StdinOnce,
		},
		ExitCommand: c.exitCommand(ctr.ID, n), Env: oci.Environ(),
	}, nil
}

// placement is where the monitor lives: in no container's cgroup and no pod's.
func (c *starter) placement(cfg Config) (cgroup.Placement, error) {
	if cfg.CgroupsOff {
		return cgroup.Placement{}, nil
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return cgroup.Placement{}, err
	}
	return host.MonitorPlacement(c.o.CgroupDriver.Parent), nil
}

// openLog makes the log file if it is not there, readable by root alone, before
// the monitor opens it by its path.
func (c *starter) openLog(ctr Container) (string, error) {
	path := c.LogPath(ctr)
	if path == "" {
		return "", nil
	}
	if err := logs.Make(ctr.Config.Log.Dir, path); err != nil {
		return "", fmt.Errorf("opening log of container %q: %w", ctr.Config.Name, err)
	}
	return path, nil
}
