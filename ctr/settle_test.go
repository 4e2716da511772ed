package ctr

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/davit-containers/davit/ctr/leftover"
	"github.com/davit-containers/davit/ctr/record"
)

// A monitor that is found by a look at all processes forks its runtime before it dies.
func TestKillAllOfForked(t *testing.T) {
	fork := func() leftover.Process {
		cmd := exec.CommandContext(t.Context(), "sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := record.ProcessOf(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = cmd.Wait() }()
		return leftover.Process{Process: p}
	}
	monitor := fork()
	var runtime leftover.Process
	looks := 0
	if err := killAllOf(t.Context(), func() (alive []leftover.Process, err error) {
		if looks++; looks == 1 {
			defer func() { runtime = fork() }()
		}
		for _, p := range []leftover.Process{monitor, runtime} {
			if p.Pid != 0 && p.Alive() {
				alive = append(alive, p)
			}
		}
		return alive, nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]leftover.Process{"the monitor": monitor, "its runtime": runtime} {
		if p.Alive() {
			t.Errorf("%s is alive after %d looks", name, looks)
		}
	}
}

// A start whose owner died once the container ran is no start to undo when the
// container has ended since: how it ended is known, also after a reboot.
func TestDeadStartOfEnded(t *testing.T) {
	for name, settle := range map[string]func(c *Controller, id string) error{
		"settled": func(c *Controller, id string) error { return c.Settle(t.Context(), id) },
		"exit command": func(c *Controller, id string) error {
			_, done, err := c.Exited(t.Context(), id, 1)
			if !done {
				t.Error("the exit command has nothing to do")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := testController(t)
			id := recordedAs(t, c, Config{Rootfs: t.TempDir()}, Status{State: Running, Start: 1, Pid: gonePid, PidStart: goneStart})
			if err := os.MkdirAll(c.persist(id, 1), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(c.persist(id, 1), "exit"), "7")
			op, err := c.dir.Begin(t.Context(), id, opStart)
			if err == nil {
				err = op.Advance(t.Context(), stageStart)
			}
			if err != nil {
				t.Fatal(err)
			}
			op.Abandon()
			if err := settle(c, id); err != nil {
				t.Fatal(err)
			}
			e, err := c.dir.Get(id)
			if err != nil || e.Op != nil {
				t.Fatalf("operation %+v, error %v", e.Op, err)
			}
			if s := e.Status; s.State != Stopped || s.ExitCode != 7 || !s.CodeKnown || s.Mounted != "" {
				t.Errorf("on record is %+v, want an exit with 7", s)
			}
			var last lastExit
			if err := c.dir.GetFile(id, exitRecord, &last); err != nil || last.Start != 1 || last.ExitCode != 7 || !last.CodeKnown {
				t.Errorf("for after a reboot there is %+v, %v", last, err)
			}
		})
	}
}
