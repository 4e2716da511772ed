package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// result is all samples of one engine in one trial.
type result struct {
	Engine string `json:"engine"`
	trial
	Milliseconds []float64 `json:"ms"`
}

// trials are all combinations asked for whose runtime is on this machine.
func (s settings) trials() []trial {
	var out []trial
	for _, r := range s.runtimes {
		if _, err := exec.LookPath(r); err != nil {
			continue
		}
		for _, n := range s.networks {
			out = append(out, trial{Runtime: r, Network: n})
		}
	}
	return out
}

// measure runs every engine once a trial and round, each round beginning with
// another engine. Two rounds warm up.
func (l *lab) measure(ctx context.Context, s settings) ([]result, error) {
	samples := map[string][]float64{}
	key := func(e engine, t trial) string { return e.name() + "/" + t.Runtime + "/" + t.Network }
	const warm = 2
	for round := range s.rounds + warm {
		for _, t := range s.trials() {
			for i := range l.engines {
				e := l.engines[(i+round)%len(l.engines)]
				cmd := e.command(ctx, t)
				if cmd == nil {
					continue
				}
				took, err := timed(cmd)
				if err != nil {
					return nil, fmt.Errorf("%s with %s, network %s: %w", e.name(), t.Runtime, t.Network, err)
				}
				if round >= warm {
					samples[key(e, t)] = append(samples[key(e, t)], took)
				}
			}
		}
		fmt.Fprintf(os.Stderr, "\rround %d of %d, load %s ", round+1, s.rounds+warm, load())
	}
	fmt.Fprintln(os.Stderr)
	var out []result
	for _, t := range s.trials() {
		for _, e := range l.engines {
			if ms := samples[key(e, t)]; ms != nil {
				out = append(out, result{Engine: e.name(), trial: t, Milliseconds: ms})
			}
		}
	}
	return out, nil
}

// timed runs a command with its output thrown away, and returns milliseconds.
func timed(cmd *exec.Cmd) (float64, error) {
	r, err := harness.Capture(cmd)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", r.Code, strings.TrimSpace(r.Stderr))
	}
	return float64(r.Took) / float64(time.Millisecond), err
}

// counted is what one run did, its whole process tree taken together.
type counted struct {
	Engine string `json:"engine"`
	trial
	Execs   int      `json:"execs"`
	Syncs   int      `json:"syncs"`
	Durable int      `json:"syncs_on_davits_records"` // of Syncs, those below the root but not of the layer store
	Names   []string `json:"programs"`                // what was executed, in order
}

// count runs each trial once more under strace.
func (l *lab) count(ctx context.Context, s settings) ([]counted, error) {
	if _, err := exec.LookPath("strace"); err != nil {
		l.absent = append(l.absent, "strace: not installed, so execs and syncs are not counted")
		return nil, nil
	}
	var out []counted
	for _, t := range s.trials() {
		for _, e := range l.engines {
			cmd := e.command(ctx, t)
			if cmd == nil {
				continue
			}
			calls, err := harness.Trace(ctx, cmd)
			if err != nil {
				return nil, fmt.Errorf("%s with %s, network %s: %w", e.name(), t.Runtime, t.Network, err)
			}
			out = append(out, counted{
				Engine: e.name(), trial: t, Execs: len(calls.Programs), Syncs: len(calls.Syncs),
				Durable: calls.Below(l.roots.Root, "storage"), Names: calls.Programs,
			})
		}
	}
	return out, nil
}

// quantile returns the value that the given share of the samples does not
// exceed; with few samples the 99th percentile is the greatest.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	if q == 0.5 && len(sorted)%2 == 0 {
		return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
