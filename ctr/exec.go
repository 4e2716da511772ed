package ctr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/rootfs"
	"github.com/davit-containers/davit/ctr/spec"
)

// Exec is a further process to run in a container.
type Exec struct {
	Args []string
	// Env are KEY=value pairs, beside the container's own.
	Env []string
	// WorkingDir and User are the container's own where they are empty.
	WorkingDir string
	User       string
	Terminal   bool
	Privileged bool
	// Detach returns as soon as the process runs; nobody reads its output.
	Detach bool
	// Size of the terminal at the start.
	Size Size
	// Timeout kills the process and its children when it has passed; 0 is none.
	Timeout time.Duration
	// Signals are passed on to the process; nil is none.
	Signals <-chan syscall.Signal
	Streams Streams
}

// Exec runs a process in a running container and returns its exit code, 128+n
// for signal n. A command that does not exist is an *oci.ExecutableError; a
// container that does not run is ErrFailedPrecondition. When ctx ends or the
// time is up, the process and its children are killed.
func (c *sessions) Exec(ctx context.Context, id string, e Exec) (code int, err error) {
	ctr, err := c.Runs(ctx, id)
	if err != nil {
		return 0, err
	}
	process, err := c.execProcess(ctr, e)
	if err != nil {
		return 0, err
	}
	rt, err := c.runtime(ctr.Config)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(c.dir.RunDir(id), "exec-")
	if err != nil {
		return 0, fmt.Errorf("making run folder for exec in container %q: %w", ctr.Config.Name, err)
	}
	defer func() {
		err = errors.Join(err, failpoint.Reach(ctx, failpoint.ExecEnded), os.RemoveAll(dir))
	}()
	if err := failpoint.Reach(ctx, failpoint.ExecFolder); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	if e.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, e.Timeout)
	}
	defer cancel()
	code, err = rt.Exec(ctx, oci.ExecConfig{
		ID: id, Process: process, Dir: dir, Detach: e.Detach, Signals: e.Signals,
		Streams: oci.ExecStreams{
			Stdin: e.Streams.Stdin, Stdout: e.Streams.Stdout, Stderr: e.Streams.Stderr, Resize: sizes(ctx, e.Streams.Resize),
		},
	})
	return code, overtaken(context.WithoutCancel(ctx), c, ctr, err)
}

// endingTime is how long the end of a container may take that an exec has met.
const endingTime = 500 * time.Millisecond

// overtaken is the error of an exec: where its container has ended meanwhile, that
// and not what the runtime stumbled over then.
func overtaken(ctx context.Context, c *sessions, ctr Container, err error) error {
	var of *oci.Error
	if !errors.As(err, &of) || errors.As(err, new(*oci.ExecutableError)) {
		return err
	}
	now, gone := c.Runs(ctx, ctr.ID)
	if gone == nil && now.Status.Pid == ctr.Status.Pid && of.Unwrap() == nil {
		// Its processes are killed one after the other, the first one last.
		ending, cancel := context.WithTimeout(ctx, endingTime)
		defer cancel()
		if monitor.AwaitGone(ending, ctr.Status.Process()) == nil {
			return fmt.Errorf("container %q has ended meanwhile: %w", ctr.Config.Name, errdefs.ErrFailedPrecondition)
		}
	}
	switch {
	case errdefs.IsFailedPrecondition(gone) || errdefs.IsNotFound(gone):
		return gone
	case gone == nil && now.Status.Pid != ctr.Status.Pid:
		return fmt.Errorf("container %q was restarted meanwhile: %w", ctr.Config.Name, errdefs.ErrFailedPrecondition)
	}
	return err
}

// Runs returns the container if a process can be run in it now, and
// ErrFailedPrecondition otherwise.
func (c *sessions) Runs(ctx context.Context, id string) (Container, error) {
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return Container{}, err
	}
	if ctr.Status.State != Running {
		return Container{}, fmt.Errorf("container %q is %s, not running: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
	}
	return ctr, nil
}

// sizes passes terminal sizes on until ctx ends.
func sizes(ctx context.Context, in <-chan Size) <-chan oci.Size {
	if in == nil {
		return nil
	}
	out := make(chan oci.Size)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s, ok := <-in:
				if !ok {
					return
				}
				select {
				case <-ctx.Done():
					return
				case out <- oci.Size{Width: s.Width, Height: s.Height}:
				}
			}
		}
	}()
	return out
}

// execProcess is the container's own process as the bundle has it, with what the
// caller wants instead.
func (c *sessions) execProcess(ctr Container, e Exec) (*specs.Process, error) {
	if len(e.Args) == 0 {
		return nil, fmt.Errorf("no command to run in container %q: %w", ctr.Config.Name, errdefs.ErrInvalidArgument)
	}
	s, err := readBundle(c.bundle(ctr.ID))
	if err != nil {
		return nil, fmt.Errorf("reading bundle of container %q: %w", ctr.Config.Name, err)
	}
	p := s.Process
	p.Args, p.Terminal, p.ConsoleSize = e.Args, e.Terminal, nil
	if e.Terminal {
		if e.Size != (Size{}) {
			p.ConsoleSize = &specs.Box{Width: uint(e.Size.Width), Height: uint(e.Size.Height)}
		}
		p.Env = withDefault(p.Env, "TERM", "xterm")
	}
	if e.WorkingDir != "" {
		p.Cwd = e.WorkingDir
	}
	if e.User != "" {
		if err := execUser(p, ctr, e.User); err != nil {
			return nil, err
		}
	}
	for _, kv := range e.Env {
		p.Env = setEnv(p.Env, kv)
	}
	if e.Privileged {
		all := boundingSet()
		p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		p.ApparmorProfile, p.NoNewPrivileges = "", false
	}
	return p, nil
}

// bundleSpec is what davit reads of its own runtime specs: the rest is large, and
// types alone that are not needed would take a tenth of an exec.
type bundleSpec struct {
	Process *specs.Process `json:"process"`
	Root    *specs.Root    `json:"root"`
	Linux   *struct {
		CgroupsPath string `json:"cgroupsPath"`
	} `json:"linux"`
}

// readBundle reads the runtime spec in a bundle.
func readBundle(dir string) (bundleSpec, error) {
	var s bundleSpec
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil || s.Process == nil || s.Root == nil || s.Linux == nil {
		return s, errdefs.ErrDataLoss
	}
	return s, nil
}

// execUser resolves another user inside the container's root filesystem.
func execUser(p *specs.Process, ctr Container, user string) error {
	u, err := rootfs.ResolveUser(ctr.Status.Mounted, user, nil, "")
	if err != nil {
		return fmt.Errorf("user for container %q: %w", ctr.Config.Name, err)
	}
	groups := spec.User{GID: u.GID, AdditionalGIDs: u.AdditionalGIDs}.Groups()
	p.User = specs.User{UID: u.UID, GID: u.GID, AdditionalGids: groups, Umask: p.User.Umask}
	p.Env = setEnv(p.Env, "HOME="+u.Home)
	if u.UID != 0 && p.Capabilities != nil {
		p.Capabilities = &specs.LinuxCapabilities{Bounding: p.Capabilities.Bounding}
	}
	return nil
}

// setEnv sets a variable, replacing one of the same name.
func setEnv(env []string, kv string) []string {
	key, _, _ := strings.Cut(kv, "=")
	for i, old := range env {
		if strings.HasPrefix(old, key+"=") {
			env[i] = kv
			return env
		}
	}
	return append(env, kv)
}

// OutputLimit is how much of each output stream ExecSync keeps. The CRI says 16
// MB (api.proto, ExecSyncResponse), and the kubelet takes no answer over 16 MiB:
// what is between leaves room for the other stream and the message around them.
const OutputLimit = 16_000_000

const (
	// answerLimit bounds both streams together.
	answerLimit = 16<<20 - 64<<10
	// smallAnswer is what each answer may keep, however many there are at a time,
	// and largeAnswers is how many may keep more.
	smallAnswer  = 256 << 10
	largeAnswers = 4
	// largePatience is how long a process may be held up for want of room.
	largePatience = 10 * time.Second
)

// Output is what a process that ran to its end has written, the beginning of
// each stream.
type Output struct {
	Stdout, Stderr []byte
	// Code is the exit code, 128+n for signal n.
	Code int
	// Dropped counts the bytes that were thrown away.
	Dropped int64
	// Release gives back the room that the answer takes. It must be called once,
	// when Stdout and Stderr are not needed any more.
	Release func()
}

// ExecSync runs a process in a running container to its end, as Exec does, and
// returns what it wrote, at most OutputLimit of each stream: the rest is thrown
// away and the process goes on. e's streams but Stdin are not used. A process
// that outlives e.Timeout is killed with its children, and the error wraps
// context.DeadlineExceeded.
//
// There is room for a few large answers at a time: a process that writes more than
// 256 KiB waits for it, and where there is none in ten seconds what it writes
// beyond is thrown away, too. The output is to be released, after an error, too.
func (c *sessions) ExecSync(ctx context.Context, id string, e Exec) (Output, error) {
	timeout, late := e.Timeout, errors.New("its time is up")
	if e.Timeout = 0; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, late)
		defer cancel()
	}
	whole := &budget{left: smallAnswer, more: answerLimit - smallAnswer, room: c.large, done: ctx.Done()}
	stdout, stderr := &capped{limit: OutputLimit, whole: whole}, &capped{limit: OutputLimit, whole: whole}
	e.Streams.Stdout, e.Streams.Stderr = stdout, stderr
	code, err := c.Exec(ctx, id, e)
	// A runtime that is too slow, too, is a deadline that has passed, but not this.
	if err != nil && errors.Is(context.Cause(ctx), late) {
		err = fmt.Errorf("command did not end within %s: %w", timeout, context.DeadlineExceeded)
	}
	return Output{
		Stdout: stdout.kept, Stderr: stderr.kept, Code: code, Dropped: stdout.dropped + stderr.dropped,
		Release: whole.release,
	}, err
}

// budget is what the streams of one answer share.
type budget struct {
	mu   sync.Mutex
	left int // bytes, without more room
	more int // bytes that there are with it
	room chan struct{}
	held bool
	done <-chan struct{} // closes when the answer is not wanted any more
}

// take gives up to n bytes. It may wait for room.
func (b *budget) take(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left && b.more > 0 {
		b.enter()
	}
	n = min(n, b.left)
	b.left -= n
	return n
}

// enter takes room for a large answer, if there is any in time. b.mu is held.
func (b *budget) enter() {
	timer := time.NewTimer(largePatience)
	defer timer.Stop()
	select {
	case b.room <- struct{}{}:
		b.held = true
		b.left += b.more
	case <-timer.C:
	case <-b.done:
	}
	b.more = 0
}

func (b *budget) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held {
		<-b.room
	}
	b.held, b.more, b.left = false, 0, 0
}

// capped is a writer that keeps the beginning of what is written.
type capped struct {
	limit   int
	whole   *budget
	kept    []byte
	dropped int64
}

// Write never fails.
func (w *capped) Write(p []byte) (int, error) {
	n := w.whole.take(min(len(p), w.limit-len(w.kept)))
	w.kept = append(w.kept, p[:n]...)
	w.dropped += int64(len(p) - n)
	return len(p), nil
}

// lastWords is how long a client may take, once the container has ended, to take
// what waits for it.
const lastWords = time.Minute

// AttachLossy attaches a client that is far away to a running container, until
// the container ends (nil) or ctx does. It never holds the container up: what the
// client does not take in time is lost, and s.Dropped, which must be set, is
// told. Input to a container without a stdin is read and thrown away. Reading
// from the client must end once this has returned.
func (c *sessions) AttachLossy(ctx context.Context, id string, s Streams) error {
	k, err := c.Runs(ctx, id)
	if err != nil {
		return err
	}
	if s.Stdin != nil && !k.Config.Process.Stdin {
		stdin := s.Stdin
		go func() { _, _ = io.Copy(io.Discard, stdin) }()
		s.Stdin = nil
	}
	session, err := c.Attach(ctx, id, s)
	if err != nil {
		return err
	}
	own, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() {
		// Where it cannot be watched, the monitor's own end is the session's.
		if _, err := c.Wait(own, id); err != nil {
			return
		}
		session.Ended()
		timer := time.NewTimer(lastWords)
		defer timer.Stop()
		select {
		case <-own.Done():
		case <-timer.C:
			stop()
		}
	})
	_, err = session.Wait(own)
	if own.Err() != nil {
		return ctx.Err()
	}
	return err
}
