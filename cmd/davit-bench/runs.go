package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
	"github.com/davit-containers/davit/commands/harness"
)

// counted is what one run did, its whole process tree taken together.
type counted struct {
	Subject string   `json:"subject"`
	Case    string   `json:"case"`
	Execs   int      `json:"execs"`
	Syncs   int      `json:"syncs"`
	Durable int      `json:"syncs_on_davits_records"` // of Syncs, those below the root but not of the layer store
	Names   []string `json:"programs"`                // what was executed, in order
}

// run is `run --rm … true`.
func (l *lab) run(ctx context.Context, e engine, runtime, network string) *exec.Cmd {
	args := []string{"run", "--rm"}
	switch network {
	case "bridge":
	case "bridge+port":
		args = append(args, "-p", "127.0.0.1:"+e.port()+":80")
	default:
		args = append(args, "--network", network)
	}
	return e.cli(ctx, runtime, append(args, l.image, "true")...)
}

// runs measures run --rm by network, many at once, and detached.
func runs(ctx context.Context, l *lab) error {
	for _, network := range l.networks {
		c := rounds.Case{Name: "run --rm, " + network}
		makers := map[string]func(context.Context) *exec.Cmd{}
		add := func(name, runtime string, make func(context.Context) *exec.Cmd) {
			makers[name] = make
			c.Subjects = append(c.Subjects, rounds.Subject{Name: name, Runtime: runtime, Sample: command(make)})
		}
		for _, r := range l.runtimes {
			for _, e := range l.engines {
				add(e.name()+", "+r, r, func(ctx context.Context) *exec.Cmd { return l.run(ctx, e, r, network) })
			}
			if !strings.HasPrefix(network, "bridge") {
				add(r+" alone", r, func(ctx context.Context) *exec.Cmd { return l.raw.run(ctx, r, network) })
			}
		}
		if l.ctr != nil && slices.Contains(l.runtimes, "runc") && !strings.HasPrefix(network, "bridge") {
			add(l.ctr.name(), "runc", func(ctx context.Context) *exec.Cmd { return l.ctr.run(ctx, network, "true") })
		}
		if err := l.measure(ctx, c); err != nil {
			return err
		}
		if err := l.count(ctx, c, makers); err != nil {
			return err
		}
	}
	for _, n := range []int{8, 32} {
		for _, network := range []string{"none", "bridge"} {
			if err := l.atOnce(ctx, n, network); err != nil {
				return err
			}
		}
	}
	return l.detached(ctx)
}

// count runs a command of each subject once more under strace.
func (l *lab) count(ctx context.Context, c rounds.Case, makers map[string]func(context.Context) *exec.Cmd) error {
	if _, err := exec.LookPath("strace"); err != nil {
		l.report.leaveOut("counts of execs and syncs", fmt.Errorf("strace is not installed"))
		return nil
	}
	for _, s := range c.Subjects {
		if s.Name == "ctr, runc" {
			continue // its work is the server's
		}
		calls, err := harness.Trace(ctx, makers[s.Name](ctx))
		if err != nil {
			return err
		}
		l.report.Counts = append(l.report.Counts, counted{
			Subject: s.Name, Case: c.Name, Execs: len(calls.Programs), Syncs: len(calls.Syncs),
			Durable: calls.Below(l.davit.davit.Roots.Root, "storage"), Names: calls.Programs,
		})
	}
	return nil
}

// atOnce measures n runs at the same time, until the last one is over.
func (l *lab) atOnce(ctx context.Context, n int, network string) error {
	together := func(make func(context.Context) *exec.Cmd) func(context.Context) ([]float64, error) {
		return rounds.Timed(func(ctx context.Context) error {
			g, ctx := errgroup.WithContext(ctx)
			for range n {
				g.Go(func() error { return succeed(make(ctx)) })
			}
			return g.Wait()
		})
	}
	c := rounds.Case{Name: fmt.Sprintf("%d × run --rm at once, %s", n, network), Rounds: max(3, l.rounds/4), Warm: 1}
	c.Subjects = l.subjects(func(e engine, r string) func(context.Context) ([]float64, error) {
		return together(func(ctx context.Context) *exec.Cmd { return l.run(ctx, e, r, network) })
	})
	if network == "none" {
		for _, r := range l.runtimes {
			c.Subjects = append(c.Subjects, rounds.Subject{Name: r + " alone", Runtime: r,
				Sample: together(func(ctx context.Context) *exec.Cmd { return l.raw.run(ctx, r, "none") })})
		}
	}
	return l.measure(ctx, c)
}

// detached measures a container that stays: its start, and its removal.
func (l *lab) detached(ctx context.Context) error {
	c := rounds.Case{Stages: []string{"run -d, bridge", "rm -f"}}
	c.Subjects = l.subjects(func(e engine, r string) func(context.Context) ([]float64, error) {
		return func(ctx context.Context) ([]float64, error) {
			start := rounds.Timed(func(ctx context.Context) error {
				return succeed(e.cli(ctx, r, "run", "-d", "--name", "bench-"+r, l.image, "sleep", "1000"))
			})
			remove := rounds.Timed(func(ctx context.Context) error {
				return succeed(e.cli(ctx, r, "rm", "-f", "-t", "0", "bench-"+r))
			})
			started, err := start(ctx)
			if err != nil {
				return nil, err
			}
			removed, err := remove(ctx)
			return append(started, removed...), err
		}
	})
	return l.measure(ctx, c)
}
