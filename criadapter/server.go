package criadapter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/criadapter/footprint"
	"github.com/davit-containers/davit/criadapter/streaming"
	"github.com/davit-containers/davit/criadapter/telemetry"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// Engine is what the server drives.
type Engine struct {
	Pods       *pod.Controller
	Containers *ctr.Controller
	Images     *img.Store
	Networks   *netw.Attacher
}

// Options are what a Server is made with.
type Options struct {
	Engine  Engine
	Images  ImageOptions
	Version string // of davit
	Streams StreamOptions
	Limits  Limits
	// Telemetry is what the server tells of itself; New completes it.
	Telemetry TelemetryOptions
	// Resting, where it is not nil, is called some seconds after the last call that
	// did something: for what cannot be done while there is too little of what it takes.
	Resting func(context.Context)
	// SystemdCgroups says that systemd makes the cgroups.
	SystemdCgroups bool
	Log            *slog.Logger
}

// Limits bound what clients may ask for. Zero is no limit.
type Limits struct {
	// Calls in flight, and as many again that only ask; one more of either is
	// ResourceExhausted. Streams and StopContainer, which wait, are not counted.
	Calls int
	// Message is the most bytes of a request.
	Message int
	// Slow is from when on a call is worth a warning.
	Slow time.Duration
	// Grace is what calls under way are given when the server is to end; then
	// they are cut off.
	Grace time.Duration
}

// TelemetryOptions say what the server tells of itself, and to whom.
type TelemetryOptions struct {
	// Listener is where metrics and profiles are served, on a unix socket or on
	// loopback; nil: nowhere. Serve closes it.
	Listener net.Listener
	// Getenv reads the OTEL_* variables, which say where traces go.
	Getenv func(string) string
}

// Server is the CRI server: RuntimeService and ImageService on one gRPC server.
type Server struct {
	grpc      *grpc.Server
	streams   *streaming.Server
	telemetry *telemetry.Telemetry
	calls     *calls
	grace     time.Duration
	log       *slog.Logger
}

// New returns a Server that serves nothing yet; it listens for streaming clients
// already, so that it is to be served.
func New(ctx context.Context, o Options) (*Server, error) {
	streams, err := newStreamServer(o)
	if err != nil {
		return nil, err
	}
	tell, err := telemetry.New(ctx, telemetry.Options{
		Listener: o.Telemetry.Listener, Getenv: o.Telemetry.Getenv, Version: o.Version, Objects: o.Engine.count, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	memory, err := footprint.New()
	if err != nil {
		o.Log.Debug("more of the program's pages stay in memory than are used", "error", err)
	}
	c := &calls{log: o.Log, memory: memory, limits: o.Limits, now: time.Now, telemetry: tell, worked: make(chan struct{}, 1), resting: o.Resting}
	s := &Server{log: o.Log, grpc: grpc.NewServer(c.options()...), streams: streams.sessions, telemetry: tell, calls: c, grace: o.Limits.Grace}
	runtimeapi.RegisterRuntimeServiceServer(s.grpc, newRuntimeServer(o, streams))
	runtimeapi.RegisterImageServiceServer(s.grpc, newImageServer(o))
	return s, nil
}

// Serve answers on l until ctx ends, then lets the calls under way finish, in the
// time that Limits.Grace gives them, and ends streaming sessions. What a call has
// begun goes on without it. Containers live on.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var streams errgroup.Group
	sctx, stopStreams := context.WithCancel(ctx)
	defer stopStreams()
	streams.Go(func() error { return s.streams.Serve(sctx) })
	// Told until the last call has ended.
	var telling errgroup.Group
	tctx, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTelling()
	telling.Go(func() error { s.telemetry.Run(tctx); return nil })
	telling.Go(func() error { s.calls.rest(tctx); return nil })
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		if s.grace > 0 {
			cut := time.AfterFunc(s.grace, s.grpc.Stop)
			defer cut.Stop()
		}
		s.grpc.GracefulStop()
		close(done)
	})
	err := s.grpc.Serve(l)
	if !stop() {
		<-done
	}
	stopStreams()
	err = errors.Join(err, streams.Wait())
	stopTelling()
	return errors.Join(err, telling.Wait())
}

// count counts containers and sandboxes, of whomever, by state; infra containers
// are part of their sandboxes.
func (e Engine) count(ctx context.Context) ([]telemetry.Count, error) {
	n := map[telemetry.Count]int{}
	containers, err := e.Containers.List(ctx)
	for _, k := range containers {
		if !k.Config.Infra {
			n[telemetry.Count{Kind: "containers", Owner: string(k.Config.Owner), State: string(k.Status.State)}]++
		}
	}
	pods, podsErr := e.Pods.List(ctx)
	for _, p := range pods {
		n[telemetry.Count{Kind: "sandboxes", Owner: string(p.Config.Owner), State: string(p.Status.State)}]++
	}
	var out []telemetry.Count
	for c, count := range n {
		c.N = count
		out = append(out, c)
	}
	return out, errors.Join(err, podsErr)
}

// runtimeServer is the RuntimeService, composed of its concerns.
type runtimeServer struct {
	*sandboxServer
	*containerServer
	*streamServer
	*statsServer
	*metricsServer
	*checkpointServer
	*eventServer
	*statusServer
	unimplementedRuntime
}

// unimplementedRuntime answers what a newer API may add. It lies one level below
// the concerns, whose methods therefore win.
type unimplementedRuntime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
}

var _ runtimeapi.RuntimeServiceServer = (*runtimeServer)(nil)

func newRuntimeServer(o Options, streams *streamServer) *runtimeServer {
	return &runtimeServer{
		sandboxServer:    &sandboxServer{pods: o.Engine.Pods, now: time.Now},
		containerServer:  &containerServer{pods: o.Engine.Pods, containers: o.Engine.Containers},
		streamServer:     streams,
		statsServer:      &statsServer{pods: o.Engine.Pods, containers: o.Engine.Containers},
		metricsServer:    newMetricsServer(o),
		checkpointServer: &checkpointServer{pods: o.Engine.Pods, containers: o.Engine.Containers},
		eventServer:      &eventServer{pods: o.Engine.Pods},
		statusServer:     newStatusServer(o),
	}
}
