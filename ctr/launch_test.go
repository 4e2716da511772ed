package ctr

import (
	"context"
	"os"
	"os/exec"
	"testing"

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
