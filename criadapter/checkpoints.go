package criadapter

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// checkpointServer serves checkpoints of containers and pods.
type checkpointServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
}

// CheckpointContainer implements runtimeapi.RuntimeServiceServer.
func (s *checkpointServer) CheckpointContainer(ctx context.Context, r *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	timeout, err := stopTimeout(r.GetTimeout())
	if err != nil {
		return nil, err
	}
	k, err := s.pods.Made(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.CheckpointContainerResponse{}, s.containers.Checkpoint(ctx, k.ID, r.GetLocation(), timeout)
}

// CheckpointPod implements runtimeapi.RuntimeServiceServer.
func (s *checkpointServer) CheckpointPod(ctx context.Context, r *runtimeapi.CheckpointPodRequest) (*runtimeapi.CheckpointPodResponse, error) {
	if err := noOptions(r.GetOptions()); err != nil {
		return nil, err
	}
	err := s.pods.Checkpoint(ctx, r.GetPodSandboxId(), pod.Checkpoint{Dir: r.GetOutputPath(), Containers: r.GetContainerIds()})
	if err != nil {
		return nil, err
	}
	return &runtimeapi.CheckpointPodResponse{}, nil
}

// RestorePod implements runtimeapi.RuntimeServiceServer.
func (s *checkpointServer) RestorePod(ctx context.Context, r *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	restore, err := podRestore(r)
	if err != nil {
		return nil, err
	}
	id, containers, err := s.pods.Restore(ctx, restore)
	if err != nil {
		return nil, err
	}
	return restoredPod(id, restore, containers), nil
}
