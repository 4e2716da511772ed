package main

import (
	"context"
	"errors"
	"time"

	"github.com/davit-containers/davit/cmd/davit-bench/cri"
)

// servers measures CRI servers.
func servers(ctx context.Context, l *lab) (err error) {
	servers, absent, err := cri.Start(ctx, cri.Config{Davit: l.settings.davit, Dir: l.dir, Runtimes: l.runtimes, Registry: l.registry})
	for name, why := range absent {
		l.report.leaveOut(name, why)
	}
	defer func() { err = errors.Join(err, servers.Stop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return err
	}
	idle, err := servers.Idle(ctx, 30*time.Second)
	if err != nil {
		return err
	}
	l.report.Results = append(l.report.Results, idle...)
	for _, c := range servers.Cases(l.rounds) {
		if err := l.measure(ctx, c); err != nil {
			return err
		}
	}
	for _, n := range []int{10, l.pods} {
		results, dropped, err := servers.WithPods(ctx, n)
		if err != nil {
			return err
		}
		l.report.Results = append(l.report.Results, results...)
		l.report.Dropped = append(l.report.Dropped, dropped...)
	}
	return nil
}
