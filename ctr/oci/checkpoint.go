package oci

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// Checkpoint says how to dump a container.
type Checkpoint struct {
	// Images is the folder that receives the process images, Work the one for
	// logs and statistics. Both exist.
	Images, Work string
	// LeaveRunning lets the processes go on; else they end.
	LeaveRunning bool
	// TCPEstablished dumps open TCP connections; else they are an error.
	TCPEstablished bool
	// FileLocks dumps locks that the processes hold; else they are an error.
	FileLocks bool
}

// args are those of the verb.
func (c Checkpoint) args(id string) []string {
	args := []string{"checkpoint", "--image-path", c.Images, "--work-path", c.Work}
	for _, f := range []struct {
		on   bool
		flag string
	}{{c.LeaveRunning, "--leave-running"}, {c.TCPEstablished, "--tcp-established"}, {c.FileLocks, "--file-locks"}} {
		if f.on {
			args = append(args, f.flag)
		}
	}
	return append(args, id)
}

// Checkpoint dumps a running or paused container's processes by CRIU.
// ErrNotImplemented where the runtime cannot do that, ErrFailedPrecondition
// without CRIU.
func (r Runtime) Checkpoint(ctx context.Context, id string, c Checkpoint) error {
	// How long it takes is the memory's size, which the caller knows better.
	if at, ok := ctx.Deadline(); ok {
		r.Timeout = max(DeadlineOf(r), time.Until(at))
	}
	err := r.run(ctx, invocation{action: "checkpoint", args: c.args(id)})
	var e *Error
	if !errors.As(err, &e) || ctx.Err() != nil {
		return err
	}
	// What the runtime says of a program that it cannot run is about CRIU here.
	var program *ExecutableError
	switch _, absent := exec.LookPath("criu"); {
	case errors.As(e.class, &program) || e.class == nil && absent != nil && !isUnknownVerb(e.Raw):
		e.class, e.Message = errdefs.ErrFailedPrecondition, e.Message+" (CRIU is needed for checkpoints)"
	case isUnknownVerb(e.Raw):
		e.class, e.Message = errdefs.ErrNotImplemented, "this build of the runtime makes no checkpoints"
	}
	return e
}

// isUnknownVerb knows what runc (urfave/cli) and crun say of a verb that they
// have not.
func isUnknownVerb(raw string) bool {
	return strings.Contains(raw, "unknown command") || strings.Contains(raw, "No help topic for")
}
