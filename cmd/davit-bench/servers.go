package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/davit-containers/davit/cmd/davit-bench/cri"
)

// idle is the name of the case of servers that nothing is asked of.
const idle = "idle"

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
	if l.only.MatchString(idle) {
		results, err := servers.Idle(ctx, 30*time.Second)
		if err != nil {
			return err
		}
		l.report.Results = append(l.report.Results, results...)
	}
	for _, c := range servers.Cases(l.rounds) {
		if err := l.measure(ctx, c); err != nil {
			return err
		}
	}
	for _, n := range l.pods {
		if !l.only.MatchString(fmt.Sprintf("with %d pods", n)) {
			continue
		}
		results, dropped, err := servers.WithPods(ctx, n)
		if err != nil {
			return err
		}
		l.report.Results = append(l.report.Results, results...)
		l.report.Dropped = append(l.report.Dropped, dropped...)
	}
	return nil
}
