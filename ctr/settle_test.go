package ctr

import (
	"os/exec"
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
