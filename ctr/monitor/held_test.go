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
	p, err := record.ProcessOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Alive(p) {
		t.Error("a process that is not held does not run")
	}
	release := h.Hold(p)
	again := h.Hold(p)
	again() // of the second: the first goes on
	if len(h.files) != 1 || !h.Alive(p) {
		t.Errorf("%d processes are held, and the one does not run", len(h.files))
	}
	if h.Alive(record.Process{Pid: p.Pid, Start: p.Start + 1}) {
		t.Error("another process with this pid runs")
	}
	if allocs := testing.AllocsPerRun(100, func() { h.Alive(p) }); allocs > 0 {
		t.Errorf("a look allocates %v times: does it read /proc?", allocs)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f, err := pidfdOf(p)
	if err == nil {
		err = waitReadable(t.Context(), f) // it is a zombie then
	}
	if err != nil {
		t.Fatal(err)
	}
	if h.Alive(p) {
		t.Error("a zombie runs")
	}
	_ = cmd.Wait()
	if h.Alive(p) {
		t.Error("a process that was reaped runs")
	}
	release()
	if len(h.files) != 0 || h.Alive(p) {
		t.Error("it is held after its release, or runs")
	}
	h.Hold(p)() // one that is gone
}

func BenchmarkAlive(b *testing.B) {
	cmd := exec.CommandContext(b.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	p, err := record.ProcessOf(cmd.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	var h Held
	b.Run("looked up", func(b *testing.B) {
		for b.Loop() {
			h.Alive(p)
		}
	})
	defer h.Hold(p)()
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			h.Alive(p)
		}
	})
}
