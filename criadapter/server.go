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

	"github.com/davit-containers/davit/criadapter/streaming"
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
	// SystemdCgroups says that systemd makes the cgroups.
	SystemdCgroups bool
	Log            *slog.Logger
}

// Limits bound what clients may ask for. Zero is no limit.
type Limits struct {
	// Calls in flight, streams apart; one more is ResourceExhausted.
	Calls int
	// Message is the most bytes of a request.
	Message int
	// Slow is from when on a call is worth a warning.
	Slow time.Duration
	// Grace is what calls under way are given when the server is to end; then
	// they are cut off.
	Grace time.Duration
}

// Server is the CRI server: RuntimeService and ImageService on one gRPC server.
type Server struct {
	grpc    *grpc.Server
	streams *streaming.Server
	grace   time.Duration
	log     *slog.Logger
}

// New returns a Server that serves nothing yet; it listens for streaming clients
// already, so that it is to be served.
func New(o Options) (*Server, error) {
	streams, err := newStreamServer(o)
	if err != nil {
		return nil, err
	}
	c := &calls{log: o.Log, limits: o.Limits, now: time.Now}
	s := &Server{log: o.Log, grpc: grpc.NewServer(c.options()...), streams: streams.sessions, grace: o.Limits.Grace}
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
	return errors.Join(err, streams.Wait())
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
		sandboxServer:    &sandboxServer{pods: o.Engine.Pods},
		containerServer:  &containerServer{pods: o.Engine.Pods, containers: o.Engine.Containers},
		streamServer:     streams,
		statsServer:      &statsServer{pods: o.Engine.Pods, containers: o.Engine.Containers},
		metricsServer:    newMetricsServer(o),
		checkpointServer: &checkpointServer{pods: o.Engine.Pods, containers: o.Engine.Containers},
		eventServer:      &eventServer{pods: o.Engine.Pods},
		statusServer:     newStatusServer(o),
	}
}
