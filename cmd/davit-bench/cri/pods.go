package cri

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/cmd/davit-bench/process"
	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

// stormLength is how long a server is asked for everything each second.
const stormLength = 10 * time.Second

// WithPods starts n pods with a container in each server, one server after the
// other, and measures what the server and a pod's monitor take, how long the
// lists take, and what a kubelet's questions of every second cost.
func (s Servers) WithPods(ctx context.Context, n int) (results []rounds.Result, dropped []rounds.Dropped, err error) {
	for _, one := range s {
		out, err := one.withPods(ctx, n)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			dropped = append(dropped, rounds.Dropped{Group: group, Case: fmt.Sprintf("with %d pods", n), Subject: one.about().name, Why: err.Error()})
			continue
		}
		results = append(results, out...)
	}
	return results, dropped, nil
}

func (s *running) withPods(ctx context.Context, n int) (out []rounds.Result, err error) {
	var pods []string
	defer func() { err = errors.Join(err, s.removeAll(context.WithoutCancel(ctx), pods)) }()
	if pods, err = s.startAll(ctx, n); err != nil {
		return nil, err
	}
	with := fmt.Sprintf("with %d pods, ", n)
	monitors := s.monitors()
	out = append(out, s.result(with+"RSS", rounds.Mebibytes, process.RSS(s.pid())),
		s.result(with+"PSS of a pod's monitor", rounds.Mebibytes, process.PSS(monitors...)/float64(n)))
	lists := s.lists()
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		list := lists[name]
		var samples []float64
		for range 20 {
			took, err := rounds.Timed(list)(ctx)
			if err != nil {
				return nil, err
			}
			samples = append(samples, took...)
		}
		out = append(out, s.result(with+name, rounds.Milliseconds, samples...))
	}
	used, began := process.CPUTime(s.pid()), time.Now()
	for tick := time.NewTicker(time.Second); time.Since(began) < stormLength; {
		for _, list := range lists {
			if err := list(ctx); err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
	storm := 100 * float64(process.CPUTime(s.pid())-used) / float64(time.Since(began))
	return append(out, s.result(with+"all lists and stats each second, CPU", rounds.Percent, storm)), nil
}

// someAtOnce is how many pods startAll and removeAll have under way.
const someAtOnce = 4

// startAll starts n pods, some at a time. After an error too, those that are there
// are returned.
func (s *running) startAll(ctx context.Context, n int) ([]string, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(someAtOnce)
	pods := make([]string, n)
	for i := range pods {
		config := s.podConfig()
		g.Go(func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			pods[i], _, err = s.startPod(ctx, config)
			return err
		})
	}
	err := g.Wait()
	return slices.DeleteFunc(pods, func(id string) bool { return id == "" }), err
}

// removeAll removes pods, some at a time.
func (s *running) removeAll(ctx context.Context, pods []string) error {
	var g errgroup.Group
	g.SetLimit(someAtOnce)
	errs := make([]error, len(pods))
	for i, id := range pods {
		g.Go(func() error { errs[i] = s.removePod(ctx, id); return nil })
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// lists are what a kubelet asks for again and again.
func (s *running) lists() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"ListPodSandbox": func(ctx context.Context) error {
			_, err := s.pods.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
			return err
		},
		"ListContainers": func(ctx context.Context) error {
			_, err := s.pods.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
			return err
		},
		"ListContainerStats": func(ctx context.Context) error {
			_, err := s.pods.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
			return err
		},
		"ListPodSandboxStats": func(ctx context.Context) error {
			_, err := s.pods.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
			return err
		},
		"ListImages": func(ctx context.Context) error {
			_, err := s.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
			return err
		},
		"ImageFsInfo": func(ctx context.Context) error {
			_, err := s.images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
			return err
		},
	}
}

// atOnce starts n pods at the same time, and removes them so.
func (s *running) atOnce(ctx context.Context, n int) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	configs := make([]*runtimeapi.PodSandboxConfig, n)
	for i := range configs {
		configs[i] = s.podConfig()
	}
	pods := make([]string, n)
	started, err := rounds.Timed(func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for i, config := range configs {
			g.Go(func() (err error) {
				pods[i], _, err = s.startPod(ctx, config)
				return err
			})
		}
		return g.Wait()
	})(ctx)
	removed, rmErr := rounds.Timed(func(ctx context.Context) error {
		var g errgroup.Group
		for _, id := range pods {
			if id != "" {
				g.Go(func() error { return s.removePod(ctx, id) })
			}
		}
		return g.Wait()
	})(ctx)
	return append(started, removed...), errors.Join(err, rmErr)
}

// execs is how many `true` a second ExecSync runs in one container.
func (s *running) execs(ctx context.Context) (rates []float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pod, container, err := s.startPod(ctx, s.podConfig())
	if pod != "" {
		defer func() { err = errors.Join(err, s.removePod(ctx, pod)) }()
	}
	if err != nil {
		return nil, err
	}
	const each = 40
	for _, clients := range []int{1, 4} {
		began := time.Now()
		g, ctx := errgroup.WithContext(ctx)
		for range clients {
			g.Go(func() error {
				for range each / clients {
					out, err := s.pods.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: container, Cmd: []string{"true"}, Timeout: 20})
					if err != nil || out.ExitCode != 0 {
						return fmt.Errorf("ExecSync: exit code %d: %w", out.GetExitCode(), err)
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		rates = append(rates, each/time.Since(began).Seconds())
	}
	return rates, nil
}

// monitors are the processes that watch containers of this server: those whose
// command line names its folder.
func (s *running) monitors() []int {
	var out []int
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, f := range folders {
		line, _ := os.ReadFile(filepath.Join(f, "cmdline"))
		program, _, _ := strings.Cut(string(line), "\x00")
		switch base := filepath.Base(program); {
		case base != "conmon" && base != "containerd-shim-runc-v2":
		case !strings.Contains(string(line), RunFolder(s.about().folder)) && !strings.Contains(string(line), s.about().folder):
		default:
			pid, _ := strconv.Atoi(filepath.Base(f))
			out = append(out, pid)
		}
	}
	return out
}
