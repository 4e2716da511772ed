package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// Size is a terminal's size in characters.
type Size struct {
	Width, Height uint16
}

// ExecStreams are the streams of an exec'd process. A nil Stdin is an empty
// one, a nil Stdout or Stderr is discarded. Writers are written to from one
// goroutine each; one that blocks holds the process up.
type ExecStreams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Resize tells the terminal's size each time it changes. Only for a
	// process with Terminal.
	Resize <-chan Size
}

// ExecConfig is one exec.
type ExecConfig struct {
	// ID is the container.
	ID string
	// Process is what is run; with Terminal set it gets a pty, of ConsoleSize.
	Process *specs.Process
	// Dir is an existing private folder for this exec alone. Exec removes
	// from it what it puts there.
	Dir     string
	Streams ExecStreams
	// Signals are passed on to the process.
	Signals <-chan syscall.Signal
	// Detach returns as soon as the process runs, without streams and without
	// its exit code.
	Detach bool
	// Started is called when the process runs, before any of its output is
	// delivered to Stderr; nil is nothing.
	Started func(pid int)
}

// Exec runs a process in a running container and returns its exit code, 128
// plus the number for a signal. A code comes with a nil error; every error is
// davit's or the runtime's, never the process's.
//
// The runtime is run with --detach and the process is reaped by the caller's
// own process, which for that becomes a child subreaper (prctl(2)), as it does to
// know a process that is the runtime's from any other: so a
// process that leaves children behind with its pipes open does not hold up the
// answer, and no runtime stays resident. What was written before the process
// exited is always delivered.
//
// When ctx ends the process, its session and its descendants are killed and
// reaped, and the error wraps ctx's.
func (r Runtime) Exec(ctx context.Context, cfg ExecConfig) (int, error) {
	if cfg.Process == nil || cfg.ID == "" || cfg.Dir == "" {
		return -1, fmt.Errorf("exec needs a container, a process and a folder: %w", errdefs.ErrInvalidArgument)
	}
	path, err := r.Binary()
	if err != nil {
		return -1, err
	}
	if err := BecomeSubreaper(); err != nil {
		return -1, err
	}
	e := &execution{Runtime: r, cfg: cfg, path: path}
	defer e.clean()
	if err := e.prepare(); err != nil {
		return -1, fmt.Errorf("preparing exec in %q: %w", cfg.ID, err)
	}
	if err := e.start(ctx); err != nil {
		return -1, err
	}
	if cfg.Detach {
		// Where this process is a subreaper nobody else will, and a dead process
		// that is not reaped keeps the container's init, and so its PID
		// namespace, from ending (pid_namespaces(7)).
		reapLater(e.pid)
		return 0, nil
	}
	return e.finish(ctx)
}

// execution is one exec under way.
type execution struct {
	Runtime
	cfg   ExecConfig
	path  string
	files []string
	pid   int

	console *console
	// child is what the runtime gets as its streams, ours the other ends.
	child [3]*os.File
	ours  [3]*os.File
	// held keeps what comes on stderr back until it is known whether it is
	// the runtime's or the process's.
	held    *heldWriter
	copying sync.WaitGroup
	exited  chan struct{}
}

func (e *execution) file(name string) string { return filepath.Join(e.cfg.Dir, name) }

// prepare writes process.json and makes the streams.
func (e *execution) prepare() error {
	e.files = []string{e.file("process.json"), e.file("pid"), e.file("log.json")}
	e.exited = make(chan struct{})
	data, err := json.Marshal(e.cfg.Process)
	if err != nil {
		return fmt.Errorf("encoding process: %w", err)
	}
	for _, f := range e.files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.WriteFile(e.file("process.json"), data, 0o600); err != nil {
		return err
	}
	null, err := devNull()
	if err != nil {
		return err
	}
	for i := range e.child {
		e.child[i] = null
	}
	if e.cfg.Detach {
		return nil
	}
	if e.cfg.Process.Terminal {
		if e.console, err = listenConsole(e.cfg.Dir); err != nil {
			return err
		}
	}
	return e.pipes()
}

// pipes makes a pipe for each stream that somebody wants; with a terminal only
// stderr, for the runtime's own words.
func (e *execution) pipes() error {
	if e.cfg.Streams.Stdin != nil && e.console == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		e.child[0], e.ours[0] = r, w
	}
	if e.cfg.Streams.Stdout != nil && e.console == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		e.child[1], e.ours[1] = w, r
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	e.child[2], e.ours[2] = w, r
	return nil
}

// start runs the runtime, which leaves when the process runs.
func (e *execution) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, DeadlineOf(e.Runtime))
	defer cancel()
	args := append(e.GlobalArgs(), "--log", e.file("log.json"), "--log-format", "json",
		"exec", "--detach", "--process", e.file("process.json"), "--pid-file", e.file("pid"))
	if e.console != nil {
		args = append(args, "--console-socket", e.console.path)
	}
	cmd := exec.CommandContext(ctx, e.path, append(args, e.cfg.ID)...)
	cmd.Env = Environ()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.child[0], e.child[1], e.child[2]
	ownGroup(cmd)
	// A runtime that is killed when the process runs, and its pid is not written
	// down yet, leaves one that nobody knows: it may come to its end first, and
	// the process is killed then.
	cmd.Cancel = func() error { return os.ErrProcessDone }
	cmd.WaitDelay = startGrace
	began := time.Now()
	children().begin()
	err := cmd.Start()
	e.closeChildEnds()
	if err != nil {
		children().failed()
		return e.failure("exec", "", err)
	}
	e.startCopying()
	err = cmd.Wait()
	reapGroup(cmd.Process.Pid, err != nil)
	if err == nil {
		e.pid, err = e.readPid()
		if err == nil {
			children().started(e.pid)
			if err := failpoint.Reach(ctx, failpoint.ExecStarted); err != nil {
				e.abandonCopies()
				return errors.Join(err, killAndReap(e.pid))
			}
			return e.running(ctx)
		}
	}
	// A killed runtime may have left the process behind.
	if pid, perr := e.readPid(); perr == nil {
		_ = killAndReap(pid)
	}
	children().failed()
	e.abandonCopies()
	raw := e.words()
	e.debug(ctx, "exec", raw)
	if ctx.Err() != nil {
		return e.timeoutError(ctx, "exec", time.Since(began), raw)
	}
	return e.failure("exec", raw, err)
}

// running marks the point where stderr becomes the process's.
func (e *execution) running(ctx context.Context) error {
	if e.cfg.Started != nil {
		e.cfg.Started(e.pid)
	}
	if e.held != nil {
		e.held.release()
	}
	if e.console == nil {
		return nil
	}
	master, err := e.console.accept(ctx)
	if err != nil {
		_ = killAndReap(e.pid)
		e.abandonCopies()
		return &Error{Runtime: e.name(), Action: "exec", Message: "sent no terminal: " + err.Error(), class: err}
	}
	e.startTerminal(master)
	return nil
}

// startCopying relays the pipes.
func (e *execution) startCopying() {
	if e.cfg.Detach {
		return
	}
	e.held = &heldWriter{to: e.cfg.Streams.Stderr}
	e.copyOut(e.ours[2], e.held)
	if e.ours[1] != nil {
		e.copyOut(e.ours[1], e.cfg.Streams.Stdout)
	}
	if e.ours[0] != nil {
		go copyIn(e.ours[0], e.cfg.Streams.Stdin, nil)
	}
}

// copyIn owns w. It may be left waiting in a Read of the caller's reader after
// the process is gone. What the process does not take any more is read and
// dropped, lest a client whose streams share a connection be held up in all of
// them.
func copyIn(w *os.File, from io.Reader, eof []byte) {
	_, err := io.Copy(w, from)
	if err != nil {
		_, _ = io.Copy(io.Discard, from)
	}
	if err == nil && eof != nil {
		_, _ = w.Write(eof)
		return
	}
	if eof == nil {
		_ = w.Close()
	}
}

func (e *execution) copyOut(from *os.File, to io.Writer) {
	e.copying.Go(func() {
		drain(from, to, e.exited)
		_ = from.Close()
	})
}

// finish waits for the process, passing signals on, and then for its output.
func (e *execution) finish(ctx context.Context) (int, error) {
	code, err := e.wait(ctx)
	close(e.exited)
	for _, f := range e.ours[1:] {
		if f != nil {
			// Wakes a reader that waits; it then takes what is there.
			_ = f.SetReadDeadline(time.Now())
		}
	}
	if e.console != nil {
		e.console.interrupt()
	}
	e.copying.Wait()
	return code, err
}

// wait waits for the process and reaps it. When ctx ends first it is killed.
// While it is not reaped its pid cannot become another's, so that it may be
// signalled by pid.
func (e *execution) wait(ctx context.Context) (int, error) {
	dead := awaitDeath(e.pid)
	signals := e.cfg.Signals
	for {
		select {
		case <-dead:
			return reap(e.pid)
		case sig, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			_ = unix.Kill(e.pid, sig)
		case <-ctx.Done():
			err := fmt.Errorf("exec in %q was killed: %w", e.cfg.ID, context.Cause(ctx))
			return -1, errors.Join(err, killAndReap(e.pid))
		}
	}
}

// awaitDeath closes the channel when a child has ended, and leaves it to be
// reaped.
func awaitDeath(pid int) <-chan struct{} {
	dead := make(chan struct{})
	go func() {
		defer close(dead)
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return dead
}

// reap waits for a child, by whoever it was forked: it is ours once the
// runtime is gone.
func reap(pid int) (int, error) {
	defer children().reaped(pid)
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return -1, fmt.Errorf("reaping exec'd process %d: %w", pid, err)
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case ws.Exited():
			return ws.ExitStatus(), nil
		}
	}
}

// startGrace is how long a runtime may go on that is starting a process which
// nobody wants any more.
const startGrace = 2 * time.Second

// reapTimeout bounds the wait for a killed process: one in a frozen cgroup dies
// only when that is thawed, and is reaped then.
const reapTimeout = 5 * time.Second

// killAndReap kills a child that is not reaped, with what it started.
func killAndReap(pid int) error {
	err := killTree(pid)
	dead := awaitDeath(pid)
	timer := time.NewTimer(reapTimeout)
	defer timer.Stop()
	select {
	case <-dead:
		_, _ = reap(pid)
	case <-timer.C:
		reapLater(pid)
	}
	return err
}

// reapLater reaps a child whenever it ends.
func reapLater(pid int) {
	go func() { _, _ = reap(pid) }()
}

func (e *execution) readPid() (int, error) {
	data, err := os.ReadFile(e.file("pid"))
	if err != nil {
		return 0, fmt.Errorf("reading pid of exec'd process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("pid file of exec'd process says %q: %w", data, errdefs.ErrUnavailable)
	}
	// The runtime is gone, and what it has started is this process's child now.
	if parent, err := record.ProcessParent(pid); err != nil || parent != os.Getpid() {
		return 0, fmt.Errorf("pid file of exec'd process says %d, which the runtime has not started: %w", pid, errdefs.ErrUnavailable)
	}
	return pid, nil
}

// words is what the runtime said: its log, or its stderr.
func (e *execution) words() string {
	var t tail
	if f, err := os.Open(e.file("log.json")); err == nil {
		_, _ = io.Copy(&t, f)
		_ = f.Close()
	}
	if lastMessage(string(t.bytes())) == "" && e.held != nil {
		_, _ = t.Write(e.held.taken())
	}
	return string(t.bytes())
}

// abandonCopies ends the relays of an exec that did not come to run.
func (e *execution) abandonCopies() {
	if e.cfg.Detach {
		return
	}
	close(e.exited)
	for _, f := range e.ours[1:] {
		if f != nil {
			_ = f.SetReadDeadline(time.Now())
		}
	}
	e.copying.Wait()
	if e.ours[0] != nil {
		_ = e.ours[0].Close()
	}
}

func (e *execution) closeChildEnds() {
	for i, f := range e.child {
		if f != nil {
			_ = f.Close()
			e.child[i] = nil
		}
	}
}

func (e *execution) clean() {
	e.closeChildEnds()
	for _, f := range e.ours {
		if f != nil {
			_ = f.Close()
		}
	}
	if e.console != nil {
		e.console.close()
	}
	for _, f := range e.files {
		_ = os.Remove(f)
	}
}
