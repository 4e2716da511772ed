package criadapter

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/pod"
)

// statsServer serves the counters of containers and sandboxes.
type statsServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
}

// ContainerStats implements runtimeapi.RuntimeServiceServer.
func (s *statsServer) ContainerStats(ctx context.Context, r *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	k, err := s.pods.Made(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	u, err := s.containers.Usage(ctx, k.ID)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatsResponse{Stats: containerStats(u)}, nil
}

// ListContainerStats implements runtimeapi.RuntimeServiceServer: one that vanishes
// meanwhile is left out.
func (s *statsServer) ListContainerStats(ctx context.Context, r *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	stats, err := s.listContainers(ctx, r.GetFilter())
	return &runtimeapi.ListContainerStatsResponse{Stats: stats}, err
}

// StreamContainerStats implements runtimeapi.RuntimeServiceServer.
func (s *statsServer) StreamContainerStats(r *runtimeapi.StreamContainerStatsRequest, to runtimeapi.RuntimeService_StreamContainerStatsServer) error {
	stats, err := s.listContainers(to.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(stats, func(part []*runtimeapi.ContainerStats) error {
		return to.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: part})
	})
}

func (s *statsServer) listContainers(ctx context.Context, f *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	// What cannot be read is not the kubelet's to see: a record that is damaged,
	// a container that has ended.
	all, _ := s.containers.List(ctx)
	usages, err := s.containers.Usages(ctx, statsContainers(all, f), ctr.Brief)
	out := make([]*runtimeapi.ContainerStats, 0, len(usages))
	for _, u := range usages {
		out = append(out, containerStats(u))
	}
	return out, err
}

// PodSandboxStats implements runtimeapi.RuntimeServiceServer.
func (s *statsServer) PodSandboxStats(ctx context.Context, r *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	one, err := s.pods.GetSandbox(ctx, r.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	u, err := s.pods.Usage(ctx, one.ID)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: podStats(u)}, nil
}

// ListPodSandboxStats implements runtimeapi.RuntimeServiceServer.
func (s *statsServer) ListPodSandboxStats(ctx context.Context, r *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	stats, err := s.listPods(ctx, r.GetFilter())
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: stats}, err
}

// StreamPodSandboxStats implements runtimeapi.RuntimeServiceServer.
func (s *statsServer) StreamPodSandboxStats(r *runtimeapi.StreamPodSandboxStatsRequest, to runtimeapi.RuntimeService_StreamPodSandboxStatsServer) error {
	stats, err := s.listPods(to.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(stats, func(part []*runtimeapi.PodSandboxStats) error {
		return to.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: part})
	})
}

func (s *statsServer) listPods(ctx context.Context, f *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	all, _ := s.pods.List(ctx) // as in listContainers
	usages, err := s.pods.Usages(ctx, statsPods(all, f), ctr.Brief)
	out := make([]*runtimeapi.PodSandboxStats, 0, len(usages))
	for _, u := range usages {
		out = append(out, podStats(u))
	}
	return out, err
}

// statsContainers are the kubelet's containers that a filter selects.
func statsContainers(all []ctr.Container, f *runtimeapi.ContainerStatsFilter) []ctr.Container {
	var out []ctr.Container
	for _, k := range all {
		if k.Config.Owner == record.OwnerCRI && !k.Config.Infra && begins(k.ID, f.GetId()) &&
			begins(k.Config.Sandbox, f.GetPodSandboxId()) && labelsMatch(k.Config.Labels, f.GetLabelSelector()) {
			out = append(out, k)
		}
	}
	return out
}

// statsPods are the kubelet's sandboxes that are ready and that a filter selects.
func statsPods(all []pod.Sandbox, f *runtimeapi.PodSandboxStatsFilter) []pod.Sandbox {
	var out []pod.Sandbox
	for _, s := range all {
		if s.Config.Owner == record.OwnerCRI && s.Status.State == pod.Ready && begins(s.ID, f.GetId()) &&
			labelsMatch(s.Config.Labels, f.GetLabelSelector()) {
			out = append(out, s)
		}
	}
	return out
}
