package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

// execs measures a command in a container that runs, one at a time and 16 at
// once. The runtime alone does it in davit's container, too, where it has the same
// seccomp filter to compile: what davit adds is the difference.
func execs(ctx context.Context, l *lab) (err error) {
	makers := map[string]func(context.Context) *exec.Cmd{}
	runtimes := map[string]string{}
	var names []string
	add := func(name, runtime string, make func(context.Context) *exec.Cmd) {
		names, makers[name], runtimes[name] = append(names, name), make, runtime
	}
	for _, r := range l.runtimes {
		for _, e := range l.engines {
			if err := succeed(e.cli(ctx, r, "run", "-d", "--name", "exec-"+r, l.image, "sleep", "10000")); err != nil {
				return err
			}
			add(e.name()+", "+r, r, func(ctx context.Context) *exec.Cmd { return e.cli(ctx, r, "exec", "exec-"+r, "true") })
		}
		same, err := l.davit.runtimeExec(ctx, r, "exec-"+r, "true")
		if err != nil {
			return err
		}
		add(r+" alone, same container", r, same)
		id, remove, err := l.raw.sleep(ctx, r)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
		add(r+" alone", r, func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, r, "exec", id, "true") })
	}
	if l.ctr != nil && slices.Contains(l.runtimes, "runc") {
		if err := succeed(l.ctr.cli(ctx, "run", "-d", l.image, "exec", "sleep", "10000")); err != nil {
			return err
		}
		defer func() {
			ctx := context.WithoutCancel(ctx)
			err = errors.Join(err, succeed(l.ctr.cli(ctx, "tasks", "rm", "-f", "exec")), succeed(l.ctr.cli(ctx, "containers", "rm", "exec")))
		}()
		var n atomic.Int64
		add(l.ctr.name(), "runc", func(ctx context.Context) *exec.Cmd {
			return l.ctr.cli(ctx, "tasks", "exec", "--exec-id", fmt.Sprintf("e%d", n.Add(1)), "exec", "true")
		})
	}
	one, many := rounds.Case{Name: "exec true"}, rounds.Case{Name: "16 × exec true at once", Rounds: max(3, l.rounds/2), Warm: 1}
	for _, name := range names {
		one.Subjects = append(one.Subjects, rounds.Subject{Name: name, Runtime: runtimes[name], Sample: command(makers[name])})
		many.Subjects = append(many.Subjects, rounds.Subject{Name: name, Runtime: runtimes[name], Sample: rounds.Timed(func(ctx context.Context) error {
			g, ctx := errgroup.WithContext(ctx)
			for range 16 {
				g.Go(func() error { return succeed(makers[name](ctx)) })
			}
			return g.Wait()
		})})
	}
	return errors.Join(l.measure(ctx, one), l.measure(ctx, many))
}
