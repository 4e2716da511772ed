package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/davit-containers/davit/cmd/davit-bench/cri"
	"github.com/davit-containers/davit/commands/harness"
)

// lab is what a group of cases is measured with, set up for it alone: engines
// with an image, on folders of their own.
type lab struct {
	settings
	report   *report
	group    string
	dir      string
	registry *harness.Registry
	image    string // busybox, in every engine
	davit    *davitEngine
	engines  []engine // davit and, where it is installed, podman
	raw      *rawRuntime
	ctr      *ctrClient // nil where containerd is not installed
}

func newLab(ctx context.Context, s settings, r *report, group string) (l *lab, err error) {
	l = &lab{settings: s, report: r, group: group}
	if l.dir, err = os.MkdirTemp("", "davit-bench-"); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close(context.WithoutCancel(ctx)))
		}
	}()
	data := filepath.Join(l.dir, "registry")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, fmt.Errorf("making the registry's folder: %w", err)
	}
	if l.registry, err = harness.StartRegistry(ctx, harness.RegistryConfig{Dir: data}); err != nil {
		return nil, err
	}
	img, err := harness.Busybox(ctx, harness.ImageConfig{})
	if err != nil {
		return nil, err
	}
	if err := l.registry.Push(ctx, "busybox:latest", img); err != nil {
		return nil, err
	}
	l.image = l.registry.Ref("busybox:latest")
	if group == "cri" { // whose servers are set up there
		return l, nil
	}
	return l, l.setUp(ctx)
}

// setUp sets the engines up; those that are not installed are left out, by name.
func (l *lab) setUp(ctx context.Context) error {
	l.davit = &davitEngine{bin: l.settings.davit}
	for _, e := range []engine{l.davit, &podman{}} {
		err := e.setUp(ctx, filepath.Join(l.dir, e.name()), l)
		if errors.Is(err, cri.ErrAbsent) {
			l.report.leaveOut(e.name(), err)
			continue
		}
		l.engines = append(l.engines, e)
		if err == nil {
			err = succeed(e.cli(ctx, "", "pull", "-q", l.image))
		}
		if err != nil {
			return fmt.Errorf("setting up %s: %w", e.name(), err)
		}
	}
	l.raw = &rawRuntime{dir: filepath.Join(l.dir, "raw")}
	if err := l.raw.setUp(ctx); err != nil {
		return fmt.Errorf("setting up %s: %w", l.raw.name(), err)
	}
	if l.group != "run" && l.group != "exec" {
		return nil
	}
	c := &ctrClient{server: cri.Containerd{Dir: l.dir, Registry: l.registry.Addr}}
	err := c.setUp(ctx, l.image)
	if errors.Is(err, cri.ErrAbsent) {
		l.report.leaveOut(c.name(), err)
		return nil
	}
	l.ctr = c
	if err != nil {
		return fmt.Errorf("setting up %s: %w", c.name(), err)
	}
	return nil
}

func (l *lab) close(ctx context.Context) error {
	var errs []error
	if l.ctr != nil {
		errs = append(errs, l.ctr.server.Stop(ctx))
	}
	for _, e := range l.engines {
		errs = append(errs, e.tearDown(ctx))
	}
	if l.registry != nil {
		errs = append(errs, l.registry.Close())
	}
	return errors.Join(append(errs, harness.RemoveTree(l.dir))...)
}
