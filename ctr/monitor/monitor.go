package monitor

import (
	"bytes"
	"cmp"
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
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// ErrMonitorGone says that nobody holds the monitor's end any more.
var ErrMonitorGone = fmt.Errorf("the container's monitor is gone: %w", errdefs.ErrFailedPrecondition)

// createTimeout bounds Create for a runtime that has no Timeout.
const createTimeout = 4 * time.Minute

// Runtime is the OCI runtime that the monitor is to run.
type Runtime struct {
	// Path is the binary's absolute path, Args its arguments before the verb.
	Path string
	Args []string
	// Failure makes an error of what the runtime printed when create failed;
	// nil makes a plain one. oci's ParseError serves.
	Failure func(raw string) error
	// Timeout is how long Create may take; 0 is four minutes.
	Timeout time.Duration
}

// Paths are the files that a monitor writes.
type Paths struct {
	// Bundle is the bundle's folder; attach socket and fifos are made in it.
	Bundle string
	// PidFile receives the container's pid; empty is "pidfile" in the bundle.
	PidFile string
	// PersistDir receives the files exit and oom. One folder a start, so that
	// a restart never reads the last one's.
	PersistDir string
	// ExitDir, if not empty, receives a file named after the container at its
	// exit, for those who watch many.
	ExitDir string
	// Log is the log file in CRI format; empty keeps no log. It must not hold
	// a colon.
	Log string
}

// Streams say what becomes of the container's standard streams.
type Streams struct {
	// Terminal gives it a pty.
	Terminal bool
	// Stdin keeps a stdin open for attach clients.
	Stdin bool
	// StdinOnce closes stdin when an attach client half-closes or leaves. It
	// is ignored with a terminal, which can be attached to again.
	StdinOnce bool
	// LogSizeMax makes the monitor start the log anew at that many bytes,
	// dropping what there was; 0 never.
	LogSizeMax int64
}

// Restore makes a container of process images, in place of its bundle's process:
// what Create then waits for runs already. The zero value does not.
type Restore struct {
	// Images is the folder of the images, Options go to the runtime's restore.
	Images  string
	Options []string
}

// Config is one monitor.
type Config struct {
	// Path is the conmon binary; empty looks conmon up in PATH.
	Path string
	// ID is the container's id for the runtime, Name its name for people.
	ID, Name string
	Runtime  Runtime
	Paths    Paths
	Streams  Streams
	// ExitCommand is run by the monitor after the exit was recorded, and
	// waited for; empty runs nothing. The first element is an absolute path.
	ExitCommand []string
	// ExitDelay, in whole seconds, is how long the monitor waits, once the exit is
	// recorded, before it runs ExitCommand: for somebody who does what that would do,
	// and then calls [Dismiss].
	ExitDelay time.Duration
	// Placement puts the monitor into its cgroup. A move goes on beside what the caller
	// does until Create.
	Placement cgroup.Placement
	Restore   Restore
	// Env replaces the monitor's environment, which the runtime and the exit
	// command inherit; nil takes this process's.
	Env []string
}

// Starting is a monitor that is held before it has done anything. It must be
// ended by Create or Abort. It is not safe for concurrent use.
type Starting struct {
	cfg     Config
	monitor record.Process
	sync    *os.File
	begin   *os.File
	stderr  *os.File
	done    bool
	// placed closes when the monitor is in its cgroup, or placeErr is set.
	placed   chan struct{}
	placeErr error
}

// Started is a container whose process exists and waits to be started.
type Started struct{ Process, Monitor record.Process }

// Fork executes the monitor, held, in the bundle's folder. The files of
// cfg.Paths need not exist yet but for that folder, and that of the log, which
// it opens at once.
//
// The monitor leads a session of its own and is this process's child: whoever
// outlives it reaps it by [Wait] or [AwaitGone].
func Fork(ctx context.Context, cfg Config) (*Starting, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	path := cfg.Path
	if path == "" {
		path = "conmon"
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("monitor %q: %w: %w", cfg.Path, err, errdefs.ErrNotFound)
	}
	if cfg.Paths.PidFile == "" {
		cfg.Paths.PidFile = filepath.Join(cfg.Paths.Bundle, "pidfile")
	}
	s := &Starting{cfg: cfg}
	if err := s.spawn(path); err != nil {
		return nil, fmt.Errorf("starting monitor of %q: %w", cfg.ID, err)
	}
	if err := failpoint.Reach(ctx, failpoint.MonitorForked); err != nil {
		return nil, errors.Join(err, s.Abort())
	}
	s.placed = make(chan struct{})
	go func() {
		defer close(s.placed)
		s.placeErr = cfg.Placement.Move(s.monitor.Pid)
	}()
	return s, nil
}

func (c Config) check() error {
	switch {
	case c.ID == "" || c.Runtime.Path == "" || c.Paths.Bundle == "" || c.Paths.PersistDir == "":
		return fmt.Errorf("monitor needs an id, a runtime, a bundle and a persist folder: %w", errdefs.ErrInvalidArgument)
	case strings.ContainsAny(c.Paths.Log, ":\n"):
		return fmt.Errorf("log path %q: the monitor knows no path with a colon or a line feed: %w", c.Paths.Log, errdefs.ErrInvalidArgument)
	}
	return nil
}

// spawn makes the pipes and the process.
func (s *Starting) spawn(path string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	var pipes [6]*os.File
	for i := 0; i < len(pipes); i += 2 {
		if pipes[i], pipes[i+1], err = os.Pipe(); err != nil {
			closeAll(pipes[:]...)
			return err
		}
	}
	syncR, syncW, beginR, beginW, errR, errW := pipes[0], pipes[1], pipes[2], pipes[3], pipes[4], pipes[5]
	attr := &os.ProcAttr{
		// It writes its marker "oom" where it is.
		Dir:   s.cfg.Paths.Bundle,
		Env:   s.cfg.env(),
		Files: []*os.File{null, null, errW, syncW, beginR},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	var proc *os.Process
	err = s.cfg.Placement.Start(attr.Sys, func() (err error) {
		proc, err = os.StartProcess(path, append([]string{path}, s.cfg.args()...), attr)
		return err
	})
	closeAll(syncW, beginR, errW)
	if err != nil {
		closeAll(syncR, beginW, errR)
		return err
	}
	s.monitor.Pid, s.sync, s.begin, s.stderr = proc.Pid, syncR, beginW, errR
	// It is reaped through Wait, by whoever is its parent then.
	_ = proc.Release()
	monitor, err := record.ProcessOf(s.monitor.Pid)
	if err != nil {
		return errors.Join(err, s.Abort())
	}
	s.monitor = monitor
	return nil
}

// args are the monitor's arguments. --sync keeps it from forking again: its
// pid is known from the start.
func (c Config) args() []string {
	args := []string{"--sync", "--full-attach", "--no-sync-log",
		"-c", c.ID, "-u", c.ID, "-n", c.Name, "-b", c.Paths.Bundle, "-p", c.Paths.PidFile,
		"--persist-dir", c.Paths.PersistDir, "-r", c.Runtime.Path}
	for _, a := range c.Runtime.Args {
		args = append(args, "--runtime-arg", a)
	}
	if c.Restore.Images != "" {
		args = append(args, "--restore", c.Restore.Images)
		for _, o := range c.Restore.Options {
			args = append(args, "--runtime-opt", o)
		}
	}
	if c.Paths.ExitDir != "" {
		args = append(args, "--exit-dir", c.Paths.ExitDir)
	}
	if c.Paths.Log != "" {
		args = append(args, "-l", "k8s-file:"+c.Paths.Log)
	} else {
		args = append(args, "-l", "none")
	}
	if c.Streams.LogSizeMax > 0 {
		args = append(args, "--log-size-max", strconv.FormatInt(c.Streams.LogSizeMax, 10))
	}
	if c.Streams.Terminal {
		args = append(args, "-t")
	}
	if c.Streams.Stdin {
		args = append(args, "-i")
		if c.Streams.Terminal || !c.Streams.StdinOnce {
			args = append(args, "--leave-stdin-open")
		}
	}
	if len(c.ExitCommand) > 0 && c.ExitDelay > 0 {
		args = append(args, "--exit-delay", strconv.Itoa(int(c.ExitDelay/time.Second)))
	}
	for i, a := range c.ExitCommand {
		if i == 0 {
			args = append(args, "--exit-command", a)
		} else {
			args = append(args, "--exit-command-arg", a)
		}
	}
	return args
}

// maxTmpDir is how long TMPDIR may be: the monitor makes a unix socket in it.
const maxTmpDir = 80

// env is the monitor's environment: the pipes, and nothing of systemd's that
// was meant for this process.
func (c Config) env() []string {
	base := c.Env
	if base == nil {
		base = os.Environ()
	}
	env := make([]string, 0, len(base)+2)
	for _, kv := range base {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "LISTEN_"), strings.HasPrefix(name, "_OCI_"), name == "NOTIFY_SOCKET",
			name == "TMPDIR" && len(value) > maxTmpDir:
		default:
			env = append(env, kv)
		}
	}
	return append(env, "_OCI_SYNCPIPE=3", "_OCI_STARTPIPE=4")
}

// Monitor is the monitor's process.
func (s *Starting) Monitor() record.Process { return s.monitor }

// answer is the line on the sync pipe.
type answer struct {
	Pid     *int   `json:"pid"`
	Data    *int   `json:"data"`
	Message string `json:"message"`
}

// Create releases the monitor and waits until the runtime has created the
// container. When that fails, or ctx ends first, the monitor and the runtime
// are ended; what the runtime keeps of the container is the caller's to delete.
func (s *Starting) Create(ctx context.Context) (Started, error) {
	if s.done {
		return Started{}, fmt.Errorf("monitor of %q was released already: %w", s.cfg.ID, errdefs.ErrFailedPrecondition)
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.cfg.Runtime.Timeout, createTimeout))
	defer cancel()
	if <-s.placed; s.placeErr != nil {
		return Started{}, errors.Join(fmt.Errorf("placing monitor of %q: %w", s.cfg.ID, s.placeErr), s.Abort())
	}
	ans, err := s.release(ctx)
	if err != nil {
		return Started{}, errors.Join(err, s.Abort())
	}
	pid := -1
	if ans.Pid != nil {
		pid = *ans.Pid
	} else if ans.Data != nil {
		pid = *ans.Data
	}
	if pid == 0 {
		return Started{}, errors.Join(fmt.Errorf("creating %q: the runtime %q has written down no process: %w",
			s.cfg.ID, s.cfg.Runtime.Path, errdefs.ErrUnavailable), s.Abort())
	}
	if pid < 0 {
		return Started{}, errors.Join(s.failure(ans.Message), s.Abort())
	}
	process, err := s.child(pid)
	if err != nil {
		return Started{}, errors.Join(err, s.Abort())
	}
	if err := failpoint.Reach(ctx, failpoint.RuntimeCreated); err != nil {
		return Started{}, errors.Join(err, s.Abort())
	}
	s.done = true
	closeAll(s.sync, s.begin, s.stderr)
	return Started{Process: process, Monitor: s.monitor}, nil
}

// child is the process of a pid that the runtime says is the container's. It
// must be the monitor's child, which waits for it: the pid of any other, of a file
// that was not written or of a runtime that has gone wrong, is a process that must
// not be touched.
func (s *Starting) child(pid int) (record.Process, error) {
	p, err := record.ProcessOf(pid)
	if err != nil {
		return p, fmt.Errorf("container %q: its process %d is gone already: %w", s.cfg.ID, pid, err)
	}
	if parent, err := record.ProcessParent(pid); err != nil || parent != s.monitor.Pid {
		return p, fmt.Errorf("creating %q: the runtime %q says that its process is %d, which it has not started: %w",
			s.cfg.ID, s.cfg.Runtime.Path, pid, errdefs.ErrUnavailable)
	}
	return p, nil
}

// maxAnswer bounds the line on the sync pipe; the monitor sends 8 KiB of
// message, escaped.
const maxAnswer = 256 << 10

// release lets the monitor go on and reads its answer.
func (s *Starting) release(ctx context.Context) (answer, error) {
	var ans answer
	ctx, give := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.watchMaker(ctx, give) })
	defer watching.Wait()
	defer give(nil)
	stop := context.AfterFunc(ctx, func() {
		_ = s.sync.SetReadDeadline(time.Now())
		_ = s.stderr.SetReadDeadline(time.Now())
	})
	defer stop()
	_, werr := s.begin.Write([]byte{0})
	_ = s.begin.Close()
	line, err := readLine(s.sync)
	var died makerDied
	if errors.As(context.Cause(ctx), &died) && len(line) == 0 {
		return ans, fmt.Errorf("creating %q: %w", s.cfg.ID, died)
	}
	if ctx.Err() != nil && len(line) == 0 {
		return ans, fmt.Errorf("creating %q: the runtime %q did not answer in time and was killed: %w",
			s.cfg.ID, s.cfg.Runtime.Path, context.Cause(ctx))
	}
	if len(line) == 0 {
		words, _ := io.ReadAll(io.LimitReader(s.stderr, maxAnswer))
		if msg := strings.TrimSpace(string(words)); msg != "" {
			return ans, fmt.Errorf("creating %q: monitor: %s: %w", s.cfg.ID, msg, errdefs.ErrUnavailable)
		}
		// It died before it could answer, or the runtime failed without a word.
		if werr == nil && errors.Is(err, io.EOF) {
			return ans, s.failure("")
		}
		return ans, fmt.Errorf("creating %q: monitor died: %w", s.cfg.ID, errors.Join(werr, err, errdefs.ErrUnavailable))
	}
	if err := json.Unmarshal(line, &ans); err != nil {
		return ans, fmt.Errorf("creating %q: monitor answered %.80q: %w", s.cfg.ID, line, errdefs.ErrUnavailable)
	}
	return ans, nil
}

func (s *Starting) failure(raw string) error {
	if s.cfg.Runtime.Failure != nil {
		return s.cfg.Runtime.Failure(raw)
	}
	if raw = strings.TrimSpace(raw); raw == "" {
		raw = "gave no reason"
	}
	return fmt.Errorf("%s create: %s", s.cfg.Runtime.Path, raw)
}

// Abort ends a monitor that was not released, or whose Create failed, with
// what it started in its session, and reaps it. After a Create that succeeded
// it does nothing. It is idempotent.
func (s *Starting) Abort() error {
	if s.done {
		return nil
	}
	s.done = true
	if s.placed != nil {
		<-s.placed
	}
	closeAll(s.sync, s.begin, s.stderr)
	// It is our child and not reaped: the pid, and the group that it leads,
	// are still its own.
	killed := killBelow(s.monitor.Pid)
	err := errors.Join(ignoreGone(unix.Kill(-s.monitor.Pid, unix.SIGKILL)), ignoreGone(unix.Kill(s.monitor.Pid, unix.SIGKILL)))
	var ws unix.WaitStatus
	for {
		_, werr := unix.Wait4(s.monitor.Pid, &ws, 0, nil)
		if !errors.Is(werr, unix.EINTR) {
			break
		}
	}
	// What the monitor leaves is ours where this process is a subreaper. Each is awaited
	// by itself: the first process of a PID namespace ends when the others are reaped.
	for _, p := range killed {
		go reap(p)
	}
	go func(group int) {
		for {
			if _, err := unix.Wait4(-group, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}(s.monitor.Pid)
	if err != nil {
		return fmt.Errorf("ending monitor of %q: %w", s.cfg.ID, err)
	}
	return nil
}

// readLine reads up to a line's end or the end of the pipe.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		line = append(line, buf[:n]...)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			return line[:i], nil
		}
		if err != nil {
			return bytes.TrimSpace(line), err
		}
		if len(line) > maxAnswer {
			return line, nil
		}
	}
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
