package main

import (
	"context"
	"errors"
	"os/exec"
	"syscall"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
	"github.com/davit-containers/davit/commands/harness"
)

// memory measures the greatest memory of a pull. What servers and monitors take
// is in the group cri.
func memory(ctx context.Context, l *lab) error {
	if err := l.push(ctx, "large:1", harness.LayersConfig{Layers: 20, Files: 50, FileBytes: 100_000}); err != nil {
		return err
	}
	ref := l.registry.Ref("large:1")
	c := rounds.Case{Name: "peak of a pull of 20 layers of 5 MB", Unit: rounds.Mebibytes, Rounds: 3}
	for _, p := range l.pullers() {
		c.Subjects = append(c.Subjects, rounds.Subject{Name: p.name, Sample: func(ctx context.Context) ([]float64, error) {
			peak, err := peakMemory(p.pull(ctx, ref))
			return []float64{peak}, errors.Join(err, succeed(p.forget(ctx, ref)))
		}})
	}
	return l.measure(ctx, c)
}

// peakMemory runs a command and returns its greatest resident memory in MiB, or
// that of the greatest of the processes that it waited for (getrusage(2)).
func peakMemory(cmd *exec.Cmd) (float64, error) {
	if err := succeed(cmd); err != nil {
		return 0, err
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, errors.New("the system tells no resource usage")
	}
	return float64(usage.Maxrss) / 1024, nil
}
