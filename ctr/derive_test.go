package ctr

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/record"
)

// testController is a Controller on temporary roots, without images or runtime.
func testController(t *testing.T) *Controller {
	t.Helper()
	dir := t.TempDir()
	p := record.Paths{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")}
	if _, err := record.EnsureBoot(p); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Paths: p, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// recorded is a container's record with a status, and nothing else of it.
func recorded(t *testing.T, c *Controller, s Status) string {
	t.Helper()
	return recordedAs(t, c, Config{}, s)
}

// recordedAs is recorded for a configuration, which gets a name.
func recordedAs(t *testing.T, c *Controller, cfg Config, s Status) string {
	t.Helper()
	id := NewID()
	cfg.Name = id[:12]
	op, err := c.dir.Create(t.Context(), record.Meta{ID: id, Owner: record.OwnerCLI, Key: cfg.Name}, cfg, s, record.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := op.End(); err != nil {
		t.Fatal(err)
	}
	return id
}

// gone is a pid and start time that no process has.
const (
	gonePid   = 1 << 29
	goneStart = 1
)

func TestGetDerivesState(t *testing.T) {
	self, err := record.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	running := Status{State: Running, Start: 1, Pid: gonePid, PidStart: goneStart, MonitorPid: gonePid, MonitorStart: goneStart}
	exiting := running
	exiting.MonitorPid, exiting.MonitorStart = self.Pid, self.Start
	alive := running
	alive.Pid, alive.PidStart = self.Pid, self.Start
	alive.MonitorPid, alive.MonitorStart = self.Pid, self.Start
	orphan := alive
	orphan.MonitorPid, orphan.MonitorStart = gonePid, goneStart
	orphaned := orphan
	orphaned.Reason = ReasonMonitorLost
	orphaned.Message = "its monitor has died: its output is lost from now on, and how it ends will not be known"
	reused := running
	reused.Pid, reused.PidStart = self.Pid, self.Start+1
	for _, tt := range []struct {
		name   string
		status Status
		exit   string // what the monitor wrote; "" is nothing
		oom    bool
		want   Status
	}{
		{name: "alive", status: alive, want: alive},
		{name: "alive, its monitor is not", status: orphan, want: orphaned},
		{name: "still exiting: the monitor drains", status: exiting, want: exiting},
		{name: "exited", status: running, exit: "7", want: Status{State: Stopped, Start: 1, ExitCode: 7, CodeKnown: true, Reason: ReasonError}},
		{name: "completed", status: running, exit: "0", want: Status{State: Stopped, Start: 1, CodeKnown: true, Reason: ReasonCompleted}},
		{name: "exited, monitor alive", status: exiting, exit: "0", want: Status{State: Stopped, Start: 1, CodeKnown: true, Reason: ReasonCompleted}},
		{name: "out of memory", status: running, exit: "137", oom: true, want: Status{
			State: Stopped, Start: 1, ExitCode: 137, CodeKnown: true, OOMKilled: true, Reason: ReasonOOMKilled,
		}},
		{name: "monitor lost", status: running, want: Status{
			State: Stopped, Start: 1, ExitCode: -1, Reason: ReasonMonitorLost,
			Message: "the monitor died before it could record an exit code",
		}},
		{name: "pid reused", status: reused, exit: "3", want: Status{State: Stopped, Start: 1, ExitCode: 3, CodeKnown: true, Reason: ReasonError}},
		{name: "prepared and killed", status: Status{State: Created, Prepared: true, Pid: gonePid, PidStart: goneStart}, want: Status{State: Created, Pid: gonePid, PidStart: goneStart}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t)
			id := recorded(t, c, tt.status)
			dir := c.persist(id, tt.status.Start)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if tt.exit != "" {
				write(t, filepath.Join(dir, "exit"), tt.exit)
			}
			if tt.oom {
				write(t, filepath.Join(dir, "oom"), "")
			}
			got, err := c.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got.Status, cmpopts.IgnoreFields(Status{}, "FinishedAt")); d != "" {
				t.Errorf("status (-want +got):\n%s", d)
			}
		})
	}
}

// The exit file of an earlier start is no evidence about this one.
func TestGetIgnoresLastStartsExit(t *testing.T) {
	c := testController(t)
	self, err := record.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	id := recorded(t, c, Status{State: Running, Start: 2, Pid: self.Pid, PidStart: self.Start})
	dir := c.persist(id, 1)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "exit"), "9")
	got, err := c.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status.State != Running {
		t.Errorf("state %s, want running", got.Status.State)
	}
}

func TestGetAfterReboot(t *testing.T) {
	finished := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name string
		last *lastExit
		mark bool
		want Status
	}{
		{name: "never started", want: Status{State: Created}},
		{name: "was running", last: &lastExit{Start: 3}, want: Status{
			State: Stopped, Start: 3, Reason: ReasonReboot, ExitCode: -1, Message: "the machine was restarted", Rebooted: true,
		}},
		{name: "had exited", last: &lastExit{Start: 1, FinishedAt: finished, ExitCode: 4, CodeKnown: true}, want: Status{
			State: Stopped, Start: 1, FinishedAt: finished, ExitCode: 4, CodeKnown: true, Reason: ReasonError, Rebooted: true,
		}},
		{name: "was stopped by its user", last: &lastExit{Start: 1, FinishedAt: finished, CodeKnown: true}, mark: true, want: Status{
			State: Stopped, Start: 1, FinishedAt: finished, CodeKnown: true, Reason: ReasonCompleted, Rebooted: true, StoppedByUser: true,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t)
			id := recorded(t, c, Status{State: Running, Start: 3, Pid: os.Getpid()})
			if tt.last != nil {
				if err := c.dir.PutFile(id, exitRecord, tt.last, false); err != nil {
					t.Fatal(err)
				}
			}
			if tt.mark {
				ctr := Container{ID: id, Config: Config{Restart: Restart{Policy: RestartUnlessStopped}}}
				if err := mark(t.Context(), c.records, ctr, false); err != nil {
					t.Fatal(err)
				}
			}
			// What a reboot does: the run root is gone.
			if err := os.RemoveAll(c.o.Paths.RunRoot); err != nil {
				t.Fatal(err)
			}
			if _, err := record.EnsureBoot(c.o.Paths); err != nil {
				t.Fatal(err)
			}
			c, err := New(c.o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got.Status); d != "" {
				t.Errorf("status (-want +got):\n%s", d)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A container that ends within a tick of the kernel's clock has not ended before it was
// started; one over whose life the clock was set has.
func TestStoppedAfterStarted(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct{ after, want time.Duration }{
		{-4 * time.Microsecond, 0}, {-10 * time.Millisecond, 0}, {0, 0}, {time.Second, time.Second}, {-time.Hour, -time.Hour},
	} {
		s := Status{State: Running, StartedAt: start}.stopped(monitor.Exit{Finished: start.Add(tt.after)})
		if got := s.FinishedAt.Sub(start); got != tt.want {
			t.Errorf("an exit at %s is one at %s, want %s", tt.after, got, tt.want)
		}
	}
}
