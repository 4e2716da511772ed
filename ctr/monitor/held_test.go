package monitor

import (
	"os/exec"
	"testing"

	"github.com/davit-containers/davit/ctr/record"
)

// A process that is held runs until it has ended, whether or not it is reaped, and
// one that is not held is looked up.
func TestHeld(t *testing.T) {
	var h Held
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	start, err := record.ProcessStart(pid)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Alive(pid, start) {
		t.Error("a process that is not held does not run")
	}
	release := h.Hold(pid, start)
	again := h.Hold(pid, start)
	again() // of the second: the first goes on
	if len(h.files) != 1 || !h.Alive(pid, start) {
		t.Errorf("%d processes are held, and the one does not run", len(h.files))
	}
	if h.Alive(pid, start+1) {
		t.Error("another process with this pid runs")
	}
	if allocs := testing.AllocsPerRun(100, func() { h.Alive(pid, start) }); allocs > 0 {
		t.Errorf("a look allocates %v times: does it read /proc?", allocs)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f, err := pidfdOf(pid, start)
	if err == nil {
		err = waitReadable(t.Context(), f) // it is a zombie then
	}
	if err != nil {
		t.Fatal(err)
	}
	if h.Alive(pid, start) {
		t.Error("a zombie runs")
	}
	_ = cmd.Wait()
	if h.Alive(pid, start) {
		t.Error("a process that was reaped runs")
	}
	release()
	if len(h.files) != 0 || h.Alive(pid, start) {
		t.Error("it is held after its release, or runs")
	}
	h.Hold(pid, start)() // one that is gone
}

func BenchmarkAlive(b *testing.B) {
	cmd := exec.CommandContext(b.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	start, err := record.ProcessStart(cmd.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	var h Held
	b.Run("looked up", func(b *testing.B) {
		for b.Loop() {
			h.Alive(cmd.Process.Pid, start)
		}
	})
	defer h.Hold(cmd.Process.Pid, start)()
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			h.Alive(cmd.Process.Pid, start)
		}
	})
}
