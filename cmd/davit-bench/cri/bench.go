package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// Config says what is measured.
type Config struct {
	Davit    string // the binary
	Dir      string // an existing folder with a short name, for all servers
	Rounds   int    // measured; two more warm up
	Runtimes []string
	Pods     int // that a server's memory is measured with, beside none
	Idle     time.Duration
}

// Stage is one of the things that are timed.
type Stage string

// What a kubelet waits for. Whole is the life of a pod with one container, its
// removal included.
const (
	RunPod  Stage = "RunPodSandbox"
	Start   Stage = "CreateContainer+StartContainer"
	StopPod Stage = "StopPodSandbox"
	Whole   Stage = "whole cycle"
)

const (
	podImage   = "busybox:latest"
	pauseImage = "pause:latest" // for servers that need one
)

// Stages lists them in the order in which they are shown.
func Stages() []Stage { return []Stage{RunPod, Start, StopPod, Whole} }

// Result is what was measured of one server.
type Result struct {
	Server       string              `json:"server"`
	Milliseconds map[Stage][]float64 `json:"ms"`
	RSS          int64               `json:"rss_bytes"`           // before the first pod
	RSSWithPods  int64               `json:"rss_bytes_with_pods"` // with Config.Pods of them
	IdleCPU      float64             `json:"idle_cpu"`            // share of one core
}

// peer is a CRI server that runs.
type peer interface {
	name() string
	// start starts it and returns its socket.
	start(ctx context.Context) (socket string, err error)
	pid() int
	stop(ctx context.Context) error
}

// errAbsent is what start wraps where the server is not installed.
var errAbsent = errors.New("not installed")

// running is a peer with a connection.
type running struct {
	peer
	conn     *grpc.ClientConn
	runtime  runtimeapi.RuntimeServiceClient
	image    string
	serial   int
	measured Result
}

// Measure starts the servers and measures them. Absent names those that are not
// installed, with the reason.
func Measure(ctx context.Context, c Config) (results []Result, absent []string, err error) {
	registry, err := pushImage(ctx, c.Dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	var servers []*running
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	peers := []peer{&containerd{dir: c.Dir, registry: registry.Addr}}
	for i, r := range c.Runtimes {
		peers = append(peers, &davit{bin: c.Davit, dir: c.Dir, runtime: r, registry: registry.Addr, subnet: 96 + i})
	}
	for _, p := range peers {
		s, err := open(ctx, p, registry.Ref(podImage))
		if errors.Is(err, errAbsent) {
			absent = append(absent, p.name()+": "+err.Error())
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("setting up %s: %w", p.name(), err)
		}
		servers = append(servers, s)
	}
	if err := measure(ctx, c, servers); err != nil {
		return nil, nil, err
	}
	for _, s := range servers {
		results = append(results, s.measured)
	}
	return results, absent, nil
}

func pushImage(ctx context.Context, dir string) (*harness.Registry, error) {
	data := dir + "/registry"
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, fmt.Errorf("making the registry's folder: %w", err)
	}
	registry, err := harness.StartRegistry(ctx, harness.RegistryConfig{Dir: data})
	if err != nil {
		return nil, err
	}
	pause := harness.ImageConfig{}
	pause.Config.Cmd = []string{"sleep", "infinity"}
	for name, config := range map[string]harness.ImageConfig{podImage: {}, pauseImage: pause} {
		img, buildErr := harness.Busybox(ctx, config)
		if buildErr == nil {
			buildErr = registry.Push(ctx, name, img)
		}
		err = errors.Join(err, buildErr)
	}
	if err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	return registry, nil
}

// open starts a server and pulls the image.
func open(ctx context.Context, p peer, image string) (*running, error) {
	socket, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, p.stop(ctx))
	}
	s := &running{
		peer: p, conn: conn, image: image, runtime: runtimeapi.NewRuntimeServiceClient(conn),
		measured: Result{Server: p.name(), Milliseconds: map[Stage][]float64{}},
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	images := runtimeapi.NewImageServiceClient(conn)
	if _, err := images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: image}}, grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(fmt.Errorf("pulling the image: %w", err), s.close(ctx))
	}
	return s, nil
}

func (s *running) close(ctx context.Context) error {
	return errors.Join(s.conn.Close(), s.stop(ctx))
}

// measure takes idle CPU of all servers at once, then interleaved rounds, then
// memory with pods.
func measure(ctx context.Context, c Config, servers []*running) error {
	if err := measureIdle(ctx, c.Idle, servers); err != nil {
		return err
	}
	const warm = 2
	for round := range c.Rounds + warm {
		for i := range servers {
			s := servers[(i+round)%len(servers)]
			took, err := s.cycle(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name(), err)
			}
			for stage, d := range took {
				if round >= warm {
					s.measured.Milliseconds[stage] = append(s.measured.Milliseconds[stage], float64(d)/float64(time.Millisecond))
				}
			}
		}
		fmt.Fprintf(os.Stderr, "\rround %d of %d ", round+1, c.Rounds+warm)
	}
	fmt.Fprintln(os.Stderr)
	for _, s := range servers {
		if err := s.measurePods(ctx, c.Pods); err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	return nil
}

func measureIdle(ctx context.Context, length time.Duration, servers []*running) error {
	used := make([]time.Duration, len(servers))
	for i, s := range servers {
		used[i] = cpuTime(s.pid())
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
	}
	for i, s := range servers {
		s.measured.RSS = rss(s.pid())
		s.measured.IdleCPU = float64(cpuTime(s.pid())-used[i]) / float64(length)
	}
	return nil
}
