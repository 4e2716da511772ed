package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record/words"
)

// MaxOutput bounds what is read of a plugin's standard output; a plugin that
// writes more is killed.
const MaxOutput = 1 << 20

// maxStderr bounds what is kept of a plugin's standard error.
const maxStderr = 16 << 10

// drainDelay is how long output pipes that a plugin's children hold open are
// waited for once the plugin itself is gone.
const drainDelay = 500 * time.Millisecond

// Exec runs plugins. The zero value is unusable: Timeout must be set.
type Exec struct {
	version.PluginDecoder
	// Timeout is the deadline of one plugin run.
	Timeout time.Duration
}

var _ invoke.Exec = (*Exec)(nil)

// Error is a plugin's failure: what it was asked and what it said.
type Error struct {
	// Plugin is the type of the plugin, Command what it was asked (ADD, DEL …).
	Plugin, Command string
	// Code is the CNI error code, 0 if it gave none.
	Code uint
	// Message is what the plugin said, or what happened to it.
	Message string

	cause error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("CNI plugin %s %s: %s", e.Plugin, e.Command, e.Message)
}

// Unwrap gives the class: ErrUnavailable where the plugin asks to try again,
// context.DeadlineExceeded when it was killed at its deadline,
// ErrResourceExhausted when it has no address left.
func (e *Error) Unwrap() error { return e.cause }

// FindInPath finds the executable of a plugin type. A type is a file name: one
// with a slash or control characters is ErrInvalidArgument (CVE-2021-20206), an
// absent plugin is ErrNotFound and names the folders looked into.
func (e *Exec) FindInPath(plugin string, paths []string) (string, error) {
	if err := CheckType(plugin); err != nil {
		return "", err
	}
	path, err := invoke.FindInPath(plugin, paths)
	if err != nil {
		return "", fmt.Errorf("CNI plugin %q is not in %s: %w", plugin, strings.Join(paths, ":"), errdefs.ErrNotFound)
	}
	return path, nil
}

// CheckType refuses plugin types that are not plain file names.
func CheckType(plugin string) error {
	bad := strings.ContainsFunc(plugin, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' })
	if bad || plugin == "" || plugin == "." || plugin == ".." || len(plugin) > 255 {
		return fmt.Errorf("CNI plugin type %q is not a plain name: %w", plugin, errdefs.ErrInvalidArgument)
	}
	return nil
}

// ExecPlugin runs the plugin at path and returns its output. All failures are
// *Error. When ctx ends or the deadline passes, the plugin's whole process
// group is killed.
func (e *Exec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.Timeout, errTimeout)
	defer cancel()
	stdout := &bounded{max: MaxOutput, overflow: cancel}
	stderr := &bounded{max: maxStderr}
	err := run(ctx, path, environ, streams{bytes.NewReader(stdin), stdout, stderr})
	perr := &Error{Plugin: filepath.Base(path), Command: command(environ)}
	switch {
	case stdout.dropped:
		perr.Message = fmt.Sprintf("wrote more than %d bytes", MaxOutput)
		perr.cause = errdefs.ErrResourceExhausted
	case err == nil:
		return stdout.buf.Bytes(), nil
	case errors.Is(context.Cause(ctx), errTimeout):
		perr.Message = fmt.Sprintf("did not finish within %s", e.Timeout)
		perr.cause = context.DeadlineExceeded
	case ctx.Err() != nil:
		perr.Message, perr.cause = "was cancelled", context.Cause(ctx)
	default:
		perr.describe(err, stdout.buf.Bytes(), stderr.buf.Bytes())
	}
	return nil, perr
}

// errTimeout tells the plugin's own deadline from the caller's.
var errTimeout = errors.New("plugin deadline")

// streams are a plugin's standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run runs the plugin once more when its file is just being written (ETXTBSY),
// as an upgrade does it.
//
// The plugin dies with this process: an ADD that outlived it could take effect
// after the DEL of whoever cleans up. The kernel sends the signal when the
// thread that forked ends (prctl(2), PR_SET_PDEATHSIG), hence the locked thread.
func run(ctx context.Context, path string, environ []string, s streams) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for try := 0; ; try++ {
		err := once(ctx, path, environ, s)
		if try == 5 || !errors.Is(err, unix.ETXTBSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// once runs the plugin.
func once(ctx context.Context, path string, environ []string, s streams) error {
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = drainDelay
	cmd.Stdin = s.in
	end, err := words.Of(cmd, s.out, s.err)
	if err != nil {
		return err
	}
	defer end(drainDelay)
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() {
		return nil // it has ended, and a child of its may read what it did not
	}
	return err
}

// describe takes the message from what the plugin wrote: a CNI error on
// standard output, or whatever is on standard error.
func (e *Error) describe(err error, stdout, stderr []byte) {
	e.Message, e.cause = err.Error(), err
	var said types.Error
	if json.Unmarshal(stdout, &said) == nil && said.Msg != "" {
		e.Code, e.Message = said.Code, said.Msg
		if said.Details != "" {
			e.Message += ": " + said.Details
		}
	} else if text := strings.TrimSpace(string(stderr)); text != "" {
		e.Message = text + " (" + err.Error() + ")"
	}
	switch {
	case e.Code == types.ErrTryAgainLater:
		e.cause = fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	case strings.Contains(e.Message, "no IP addresses available"):
		// host-local has no code for it
		e.cause = fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	}
}

// command finds what the plugin was asked in its environment.
func command(environ []string) string {
	for _, kv := range environ {
		if c, ok := strings.CutPrefix(kv, "CNI_COMMAND="); ok {
			return c
		}
	}
	return ""
}

// bounded keeps the first max bytes. With an overflow function it calls that,
// and refuses to take more; without one it drops the rest silently.
type bounded struct {
	buf      bytes.Buffer
	max      int
	dropped  bool
	overflow func()
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	room := b.max - b.buf.Len()
	if len(p) <= room {
		return b.buf.Write(p)
	}
	b.buf.Write(p[:max(room, 0)])
	b.dropped = b.overflow != nil
	if b.overflow != nil {
		b.overflow()
		return 0, errdefs.ErrResourceExhausted
	}
	return len(p), nil
}
