package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record/words"
)

const (
	// maxOutput bounds what is kept of a runtime's stdout and of its stderr.
	maxOutput = 64 << 10
	// pipeGrace is how long output is read on after the runtime is gone, in
	// case a stray child holds the pipe.
	pipeGrace = 500 * time.Millisecond
)

// invocation is one run of the runtime.
type invocation struct {
	action string
	args   []string
	stdin  []byte
	stdout io.Writer
}

// run executes the runtime and waits for it. At the deadline its process group
// is killed and the error says which action took how long.
func (r Runtime) run(ctx context.Context, inv invocation) error {
	path, err := r.Binary()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, DeadlineOf(r))
	defer cancel()

	cmd := exec.CommandContext(ctx, path, append(r.GlobalArgs(), inv.args...)...)
	cmd.Env = Environ()
	var stdout, stderr tail
	end, err := words.Of(cmd, &stdout, &stderr)
	if err != nil {
		return err
	}
	if inv.stdin != nil {
		cmd.Stdin = bytes.NewReader(inv.stdin)
	}
	ownGroup(cmd)
	began := time.Now()
	err = cmd.Run()
	if cmd.Process != nil {
		reapGroup(cmd.Process.Pid, err != nil)
	}
	end(pipeGrace)
	if err == nil || (errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success()) {
		if inv.stdout != nil {
			_, _ = inv.stdout.Write(stdout.bytes())
		}
		return nil
	}
	raw := string(stderr.bytes())
	if len(raw) == 0 {
		raw = string(stdout.bytes())
	}
	r.debug(ctx, inv.action, raw)
	if ctx.Err() != nil {
		return r.timeoutError(ctx, inv.action, time.Since(began), raw)
	}
	return r.failure(inv.action, raw, err)
}

// ownGroup gives the command a process group, for reapGroup.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = pipeGrace
}

// reapGroup reaps, in the background, what a runtime that is gone has left of its
// process group, and kills it first when the runtime has failed. Only what has
// become a child of this process is there to be reaped, see account.
func reapGroup(group int, failed bool) {
	if failed {
		_ = unix.Kill(-group, unix.SIGKILL)
	}
	go func() {
		for {
			_, err := unix.Wait4(-group, nil, 0, nil)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
}

// tail is a writer that keeps the last maxOutput bytes: a runtime's reason is
// in its last words.
type tail struct {
	buf []byte
}

// Write keeps the end of p and never fails.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n >= maxOutput {
		t.buf = append(t.buf[:0], p[n-maxOutput:]...)
		return n, nil
	}
	if over := len(t.buf) + n - maxOutput; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[over:])]
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

func (t *tail) bytes() []byte { return t.buf }
