package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/davit-containers/davit/cmd/davit-bench/process"
	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
	"github.com/davit-containers/davit/commands/harness"
)

// memory measures the greatest memory of a pull. What servers and monitors take
// is in the group cri.
func memory(ctx context.Context, l *lab) error {
	for name, zstd := range map[string]bool{"gzip": false, "zstd": true} {
		if err := l.push(ctx, name+":1", harness.LayersConfig{Layers: 20, Files: 50, FileBytes: 100_000, Zstd: zstd}); err != nil {
			return err
		}
		ref := l.registry.Ref(name + ":1")
		c := rounds.Case{Name: "peak of a pull of 20 layers of 5 MB, " + name, Unit: rounds.Mebibytes, Rounds: 3}
		for _, p := range l.pullers() {
			c.Subjects = append(c.Subjects, rounds.Subject{Name: p.name, Sample: func(ctx context.Context) ([]float64, error) {
				peak, err := peakMemory(p.pull(ctx, ref))
				return []float64{peak}, errors.Join(err, succeed(p.forget(ctx, ref)))
			}})
		}
		if err := l.measure(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// peakMemory runs a command and returns the greatest memory of it and its children
// in MiB.
func peakMemory(cmd *exec.Cmd) (float64, error) {
	var words strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &words
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", filepath.Base(cmd.Path), err)
	}
	ended, peak := make(chan struct{}), make(chan float64)
	go func() { peak <- process.Peak(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	close(ended)
	most := <-peak
	if err != nil {
		return 0, fmt.Errorf("running %s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(words.String()))
	}
	return most, nil
}
