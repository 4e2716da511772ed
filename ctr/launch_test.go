package ctr

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record"
)

// A start that is refused leaves the container as it was: there is nothing to
// undo, and undoing would kill it.
func TestRefusedStartUndoesNothing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status Status
		start  func(*Controller, context.Context, string) error
	}{
		{name: "paused", status: Status{State: Paused}, start: func(c *Controller, ctx context.Context, id string) error { return c.Start(ctx, id, nil) }},
		{name: "its sandbox is gone", status: Status{State: Created, Prepared: true}, start: func(c *Controller, ctx context.Context, id string) error {
			return c.Start(ctx, id, func(context.Context) (Sandbox, error) { return Sandbox{}, errdefs.ErrFailedPrecondition })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t)
			cmd := exec.CommandContext(t.Context(), "sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			process, err := record.ProcessOf(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			tt.status.Start, tt.status.Pid, tt.status.PidStart = 1, process.Pid, process.Start
			id := recorded(t, c, tt.status)
			if err := tt.start(c, t.Context(), id); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("error %v, want %v", err, errdefs.ErrFailedPrecondition)
			}
			if !process.Alive() {
				t.Error("a refused start killed the container")
			}
			got, err := c.Get(t.Context(), id)
			if err != nil || got.Status.State != tt.status.State || got.Status.Prepared != tt.status.Prepared {
				t.Errorf("status %+v, error %v, want %s as before", got.Status, err, tt.status.State)
			}
		})
	}
}

// A container whose record names no signal is stopped all the same; what a caller
// names is to be one.
func TestStopOfUnknownSignal(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       StopOptions
		wantErr error
	}{
		{name: "killed at once", o: StopOptions{Timeout: new(time.Duration)}},
		{name: "asked to end", o: StopOptions{Timeout: new(time.Minute)}},
		{name: "the caller's", o: StopOptions{Signal: "BOGUS"}, wantErr: errdefs.ErrInvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t)
			cmd := exec.CommandContext(t.Context(), "sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { defer close(ended); _ = cmd.Wait() }()
			defer func() { _ = cmd.Process.Kill(); <-ended }()
			process, err := record.ProcessOf(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			id := recorded(t, c, Status{State: Running, Start: 1, Pid: process.Pid, PidStart: process.Start})
			op, err := c.dir.TryBegin(id, opStop)
			if err != nil {
				t.Fatal(err)
			}
			k, err := c.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			k.Config.Stop.Signal = "NOSUCH"
			warned := ""
			tt.o.Warn = func(s string) { warned += s }
			err = c.terminate(t.Context(), op, k, tt.o)
			if errdefs.IsInvalidArgument(err) != (tt.wantErr != nil) || errdefs.IsInvalidArgument(err) != process.Alive() {
				t.Errorf("error %v, alive %v, want %v", err, process.Alive(), tt.wantErr)
			}
			if tt.wantErr == nil && !strings.Contains(warned, "NOSUCH") {
				t.Errorf("warned of %q", warned)
			}
		})
	}
}

// A container that is on its way out is there: it is not running, not absent.
func TestKillOfOneThatIsExiting(t *testing.T) {
	c := testController(t)
	self, err := record.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	id := recorded(t, c, Status{State: Running, Start: 1, Pid: gonePid, PidStart: goneStart, MonitorPid: self.Pid, MonitorStart: self.Start})
	if err := c.Kill(t.Context(), id, "TERM"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("error %v, want %v", err, errdefs.ErrFailedPrecondition)
	}
}
