// Davit-bench measures `davit run --rm` against the raw OCI runtime and, where
// it is installed, podman: in one run, in interleaved rounds, so that what the
// machine does meanwhile falls on all alike. It prints medians, 99th
// percentiles and ratios, and how many programs each executes and how often it
// syncs, which unlike time do not depend on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/davit-containers/davit/commands/harness"
)

// settings are the flags.
type settings struct {
	davit    string
	rounds   int
	runtimes []string
	networks []string
	json     string
	counts   bool
	cri      bool
}

func main() {
	var s settings
	var runtimes, networks string
	flag.StringVar(&s.davit, "davit", "bin/davit", "the davit binary to measure")
	flag.IntVar(&s.rounds, "rounds", 20, "measured rounds; two more warm up")
	flag.StringVar(&runtimes, "runtimes", "runc,crun", "OCI runtimes")
	flag.StringVar(&networks, "networks", "none,host,bridge,bridge+port", "networks")
	flag.StringVar(&s.json, "json", "bin/bench.json", "where to write all samples")
	flag.BoolVar(&s.counts, "counts", true, "count execs and syncs too, by strace")
	flag.BoolVar(&s.cri, "cri", false, "measure davit serve-cri, and containerd where it is installed, in place of davit run")
	flag.Parse()
	s.runtimes, s.networks = strings.Split(runtimes, ","), strings.Split(networks, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := 0, error(nil)
	switch {
	case !s.cri:
		err = run(ctx, s)
	case harness.Inside():
		err = runCRI(ctx, s)
	default:
		code, err = harness.Enter(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, s settings) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("containers need root: run `sudo make bench`")
	}
	dir, err := os.MkdirTemp("", "davit-bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	l, err := newLab(ctx, s, dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { err = errors.Join(err, l.close(context.WithoutCancel(ctx))) }()
	report := newReport(ctx, s, l)
	report.Results, err = l.measure(ctx, s)
	if err != nil {
		return err
	}
	report.LoadAfter = load()
	if s.counts {
		report.Counts, err = l.count(ctx, s)
		if err != nil {
			return err
		}
	}
	report.print(os.Stdout)
	return report.write(s.json)
}

// lab is what is measured, set up once: each engine with an image of its own.
type lab struct {
	dir      string
	roots    harness.Roots
	registry *harness.Registry
	engines  []engine
	absent   []string // engines that could not be set up, with the reason
}

func newLab(ctx context.Context, s settings, dir string) (*lab, error) {
	l := &lab{dir: dir}
	bin, err := filepath.Abs(s.davit)
	if err != nil {
		return nil, fmt.Errorf("finding davit: %w", err)
	}
	davitDir := filepath.Join(dir, "davit")
	data := filepath.Join(dir, "registry")
	if err := errors.Join(os.Mkdir(davitDir, 0o711), os.Mkdir(data, 0o700)); err != nil {
		return nil, fmt.Errorf("making folders: %w", err)
	}
	if l.roots, err = harness.NewRoots(davitDir); err != nil {
		return nil, err
	}
	if l.registry, err = harness.StartRegistry(ctx, harness.RegistryConfig{Dir: data}); err != nil {
		return nil, err
	}
	if err := l.pushImage(ctx); err != nil {
		return nil, errors.Join(err, l.close(ctx))
	}
	davit := harness.Davit{Bin: bin, Roots: l.roots}
	candidates := []engine{
		&rawRuntime{dir: filepath.Join(dir, "raw")},
		&podman{dir: filepath.Join(dir, "podman")},
		&davitEngine{davit: davit},
	}
	for _, e := range candidates {
		switch err := e.setUp(ctx, l); {
		case errors.Is(err, errAbsent):
			l.absent = append(l.absent, e.name()+": "+err.Error())
		case err != nil:
			return nil, errors.Join(fmt.Errorf("setting up %s: %w", e.name(), err), l.close(ctx))
		default:
			l.engines = append(l.engines, e)
		}
	}
	return l, nil
}

func (l *lab) pushImage(ctx context.Context) error {
	img, err := harness.Busybox(ctx, harness.ImageConfig{})
	if err != nil {
		return err
	}
	return errors.Join(l.registry.Push(ctx, "busybox:latest", img), l.roots.TrustRegistry(l.registry.Addr))
}

func (l *lab) close(ctx context.Context) error {
	var errs []error
	for _, e := range l.engines {
		errs = append(errs, e.tearDown(ctx))
	}
	errs = append(errs, l.registry.Close(), l.roots.RemoveNetwork(ctx), l.roots.Remove(), harness.RemoveTree(l.dir))
	return errors.Join(errs...)
}
