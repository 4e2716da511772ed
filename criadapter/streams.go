package criadapter

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/criadapter/streaming"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// StreamOptions say where Exec, Attach and PortForward are served.
type StreamOptions struct {
	// Address is host:port; empty is a free port of 127.0.0.1. Any other address
	// than loopback needs the files of a certificate and its key.
	Address           string
	CertFile, KeyFile string
	// Idle ends connections that carry nothing for so long; 0 is four hours.
	Idle time.Duration
}

// streamServer serves Exec, ExecSync, Attach and PortForward.
type streamServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
	sessions   *streaming.Server
}

// newStreamServer listens for sessions; they are served by sessions.Serve.
func newStreamServer(o Options) (*streamServer, error) {
	so := streaming.Options{Address: o.Streams.Address, Idle: o.Streams.Idle, Log: o.Log}
	if o.Streams.CertFile != "" || o.Streams.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(o.Streams.CertFile, o.Streams.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("loading the certificate for streams: %w: %w", errdefs.ErrInvalidArgument, err)
		}
		so.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	sessions, err := streaming.Listen(so, o.Engine.Containers, o.Engine.Pods)
	if err != nil {
		return nil, err
	}
	return &streamServer{pods: o.Engine.Pods, containers: o.Engine.Containers, sessions: sessions}, nil
}

// ExecSync implements runtimeapi.RuntimeServiceServer.
func (s *streamServer) ExecSync(ctx context.Context, r *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	if r.GetTimeout() < 0 {
		return nil, fmt.Errorf("a timeout of %d s: %w", r.GetTimeout(), errdefs.ErrInvalidArgument)
	}
	k, err := s.pods.Made(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	out, err := s.containers.ExecSync(ctx, k.ID, ctr.Exec{
		Args: r.GetCmd(), Timeout: time.Duration(r.GetTimeout()) * time.Second,
	})
	afterAnswer(ctx, out.Release)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ExecSyncResponse{Stdout: out.Stdout, Stderr: out.Stderr, ExitCode: int32(out.Code)}, nil
}

// runs returns the full ID of one of the kubelet's containers that runs now, and
// refuses others. Whose a container is never changes: the session need not ask again.
func (s *streamServer) runs(ctx context.Context, id string) (string, error) {
	k, err := s.pods.Made(ctx, id)
	if err != nil {
		return "", err
	}
	_, err = s.containers.Runs(ctx, k.ID)
	return k.ID, err
}

// Exec implements runtimeapi.RuntimeServiceServer.
func (s *streamServer) Exec(ctx context.Context, r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	id, err := s.runs(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	r.ContainerId = id
	url, err := s.sessions.Exec(r)
	return &runtimeapi.ExecResponse{Url: url}, err
}

// Attach implements runtimeapi.RuntimeServiceServer.
func (s *streamServer) Attach(ctx context.Context, r *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	id, err := s.runs(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	r.ContainerId = id
	url, err := s.sessions.Attach(r)
	return &runtimeapi.AttachResponse{Url: url}, err
}

// PortForward implements runtimeapi.RuntimeServiceServer.
func (s *streamServer) PortForward(ctx context.Context, r *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	id, err := s.pods.Forwardable(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	r.PodSandboxId = id
	url, err := s.sessions.PortForward(r)
	return &runtimeapi.PortForwardResponse{Url: url}, err
}
