package cri

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/cmd/davit-bench/process"
	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
	"github.com/davit-containers/davit/commands/harness"
)

// group is what the cases belong to.
const group = "cri"

// Config says what is measured.
type Config struct {
	Davit    string // the binary
	Dir      string // an existing folder with a short name, for all servers
	Runtimes []string
	Registry *harness.Registry
}

const (
	podImage   = "busybox:latest"
	pauseImage = "pause:latest" // for servers that need one
)

// about says who a peer is.
type about struct {
	name, runtime string
	folder        string
}

// peer is a CRI server that runs.
type peer interface {
	about() about
	// start starts it and returns its socket.
	start(ctx context.Context) (socket string, err error)
	pid() int
	stop(ctx context.Context) error
}

// ErrAbsent is wrapped by the errors about what is not installed.
var ErrAbsent = errors.New("not installed")

// running is a peer with a connection.
type running struct {
	peer
	conn   *grpc.ClientConn
	pods   runtimeapi.RuntimeServiceClient
	images runtimeapi.ImageServiceClient
	image  string
	serial int
}

// Servers are CRI servers that run side by side.
type Servers []*running

// Start starts the servers; absent are those that are not installed, with the
// reason. After an error too, Stop ends those that run.
func Start(ctx context.Context, c Config) (servers Servers, absent map[string]error, err error) {
	absent = map[string]error{}
	pause := harness.ImageConfig{}
	pause.Config.Cmd = []string{"sleep", "infinity"}
	img, err := harness.Busybox(ctx, pause)
	if err == nil {
		err = c.Registry.Push(ctx, pauseImage, img)
	}
	if err != nil {
		return nil, nil, err
	}
	peers := []peer{&containerdServer{Containerd{Dir: c.Dir, Registry: c.Registry.Addr}}}
	for i, r := range c.Runtimes {
		peers = append(peers, &davit{bin: c.Davit, dir: c.Dir, with: r, registry: c.Registry.Addr, subnet: 96 + i})
	}
	for _, p := range peers {
		s, err := open(ctx, p, c.Registry.Ref(podImage))
		if errors.Is(err, ErrAbsent) {
			absent[p.about().name] = err
			continue
		}
		if err != nil {
			return servers, absent, fmt.Errorf("setting up %s: %w", p.about().name, err)
		}
		servers = append(servers, s)
	}
	return servers, absent, nil
}

// Stop ends the servers.
func (s Servers) Stop(ctx context.Context) error {
	var errs []error
	for _, one := range s {
		errs = append(errs, one.close(ctx))
	}
	return errors.Join(errs...)
}

// open starts a server and pulls the image.
func open(ctx context.Context, p peer, image string) (*running, error) {
	socket, err := p.start(ctx)
	if err != nil {
		return nil, errors.Join(err, p.stop(ctx))
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, p.stop(ctx))
	}
	s := &running{peer: p, conn: conn, image: image, pods: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn)}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := s.images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: image}}, grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(fmt.Errorf("pulling the image: %w", err), s.close(ctx))
	}
	return s, nil
}

func (s *running) close(ctx context.Context) error {
	return errors.Join(s.conn.Close(), s.stop(ctx), s.removeCgroup())
}

// subjects are the servers, each doing what sample makes of it.
func (s Servers) subjects(sample func(*running) func(context.Context) ([]float64, error)) []rounds.Subject {
	var out []rounds.Subject
	for _, one := range s {
		out = append(out, rounds.Subject{Name: one.about().name, Runtime: one.about().runtime, Sample: sample(one)})
	}
	return out
}

// Cases are a pod's life one at a time, 10 and 50 at once, and ExecSync.
func (s Servers) Cases(n int) []rounds.Case {
	out := []rounds.Case{{
		Name: "one pod", Stages: []string{"RunPodSandbox", "CreateContainer", "StartContainer", "the three", "StopPodSandbox", "RemovePodSandbox", "whole cycle"},
		Rounds: n, Warm: 2,
		Subjects: s.subjects(func(one *running) func(context.Context) ([]float64, error) { return one.cycle }),
	}}
	for _, pods := range []int{10, 50} {
		out = append(out, rounds.Case{
			Name: fmt.Sprintf("%d pods at once", pods), Stages: []string{"to all running", "to all removed"},
			Rounds: max(3, n/4), Warm: 1,
			Subjects: s.subjects(func(one *running) func(context.Context) ([]float64, error) {
				return func(ctx context.Context) ([]float64, error) { return one.atOnce(ctx, pods) }
			}),
		})
	}
	return append(out, rounds.Case{
		Name: "ExecSync true", Unit: rounds.PerSecond, Stages: []string{"one at a time", "4 at a time"}, Rounds: max(3, n/4), Warm: 1,
		Subjects: s.subjects(func(one *running) func(context.Context) ([]float64, error) { return one.execs }),
	})
}

// Idle is what the servers cost while nothing is asked of them.
func (s Servers) Idle(ctx context.Context, length time.Duration) ([]rounds.Result, error) {
	used := make([]time.Duration, len(s))
	for i, one := range s {
		used[i] = process.CPUTime(one.pid())
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(length):
	}
	var out []rounds.Result
	for i, one := range s {
		out = append(out, one.result("idle, CPU", rounds.Percent, 100*float64(process.CPUTime(one.pid())-used[i])/float64(length)),
			one.result("idle, RSS", rounds.Mebibytes, process.RSS(one.pid())))
	}
	return out, nil
}

func (s *running) result(name string, u rounds.Unit, samples ...float64) rounds.Result {
	return rounds.Result{Group: group, Case: name, Unit: u, Subject: s.about().name, Runtime: s.about().runtime, Samples: samples}
}
