package criadapter

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// sandboxServer serves the life of pod sandboxes.
type sandboxServer struct {
	pods *pod.Controller
	now  func() time.Time
}

// RunPodSandbox implements runtimeapi.RuntimeServiceServer.
func (s *sandboxServer) RunPodSandbox(ctx context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	cfg, err := sandboxConfig(r)
	if err != nil {
		return nil, err
	}
	id, err := s.pods.Run(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

// StopPodSandbox implements runtimeapi.RuntimeServiceServer.
func (s *sandboxServer) StopPodSandbox(ctx context.Context, r *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	return &runtimeapi.StopPodSandboxResponse{}, ctr.AbsentOK(s.pods.StopSandbox(ctx, r.GetPodSandboxId()))
}

// RemovePodSandbox implements runtimeapi.RuntimeServiceServer.
func (s *sandboxServer) RemovePodSandbox(ctx context.Context, r *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	return &runtimeapi.RemovePodSandboxResponse{}, ctr.AbsentOK(s.pods.RemoveSandbox(ctx, r.GetPodSandboxId()))
}

// PodSandboxStatus implements runtimeapi.RuntimeServiceServer. Its time is before that
// of what it tells: a kubelet trusts no answer that is older than a change it knows of.
func (s *sandboxServer) PodSandboxStatus(ctx context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	asked := s.now()
	sandbox, err := s.pods.GetSandbox(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	containers, err := s.pods.ContainersOf(ctx, sandbox.ID)
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.PodSandboxStatusResponse{
		Status: sandboxStatus(sandbox), ContainersStatuses: containerStatuses(containers), Timestamp: asked.UnixNano(),
	}
	if r.GetVerbose() {
		out.Info, err = sandboxInfo(sandbox, containers)
	}
	return out, err
}

// ListPodSandbox implements runtimeapi.RuntimeServiceServer.
func (s *sandboxServer) ListPodSandbox(ctx context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	items, err := s.list(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListPodSandboxResponse{Items: items}, nil
}

// StreamPodSandboxes implements runtimeapi.RuntimeServiceServer.
func (s *sandboxServer) StreamPodSandboxes(r *runtimeapi.StreamPodSandboxesRequest, stream runtimeapi.RuntimeService_StreamPodSandboxesServer) error {
	items, err := s.list(stream.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(items, func(part []*runtimeapi.PodSandbox) error {
		return stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: part})
	})
}

// UpdatePodSandboxResources implements runtimeapi.RuntimeServiceServer.
func (s *sandboxServer) UpdatePodSandboxResources(ctx context.Context, r *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, s.pods.SetLimits(ctx, r.GetPodSandboxId(), pod.Limits{
		Resources: sandboxResources(r.GetResources()), Overhead: sandboxResources(r.GetOverhead()),
	})
}

func (s *sandboxServer) list(ctx context.Context, f *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	return listed(ctx, s.pods.Each, func(sandbox *pod.Sandbox) bool { return sandboxMatches(sandbox, f) }, sandboxItem)
}
