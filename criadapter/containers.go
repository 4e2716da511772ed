package criadapter

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// containerServer serves the life of containers.
type containerServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
}

// CreateContainer implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) CreateContainer(ctx context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	cfg, err := containerConfig(r)
	if err != nil {
		return nil, err
	}
	privileged := r.GetSandboxConfig().GetLinux().GetSecurityContext().GetPrivileged()
	id, err := s.pods.MakeContainer(ctx, cfg, privileged)
	if err != nil {
		return nil, makeError(err)
	}
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

// StartContainer implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) StartContainer(ctx context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	return &runtimeapi.StartContainerResponse{}, s.pods.StartMade(ctx, r.GetContainerId())
}

// StopContainer implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) StopContainer(ctx context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	timeout, err := stopTimeout(r.GetTimeout())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.StopContainerResponse{}, ctr.AbsentOK(s.pods.StopMade(ctx, r.GetContainerId(), timeout))
}

// RemoveContainer implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) RemoveContainer(ctx context.Context, r *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	return &runtimeapi.RemoveContainerResponse{}, ctr.AbsentOK(s.pods.RemoveMade(ctx, r.GetContainerId()))
}

// ContainerStatus implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) ContainerStatus(ctx context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	k, err := s.pods.Made(ctx, r.GetContainerId())
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.ContainerStatusResponse{Status: containerStatus(k)}
	if r.GetVerbose() {
		bundle, err := s.containers.RuntimeSpec(k.ID)
		if ctr.AbsentOK(err) != nil {
			return nil, err
		}
		if out.Info, err = containerInfo(k, bundle); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ListContainers implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) ListContainers(ctx context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	items, err := s.list(ctx, r.GetFilter())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListContainersResponse{Containers: items}, nil
}

// StreamContainers implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) StreamContainers(r *runtimeapi.StreamContainersRequest, stream runtimeapi.RuntimeService_StreamContainersServer) error {
	items, err := s.list(stream.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(items, func(part []*runtimeapi.Container) error {
		return stream.Send(&runtimeapi.StreamContainersResponse{Containers: part})
	})
}

func (s *containerServer) list(ctx context.Context, f *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	return listed(ctx, s.pods.EachMade, func(k *ctr.Container) bool { return containerMatches(k, f) }, containerItem)
}

// UpdateContainerResources implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) UpdateContainerResources(ctx context.Context, r *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	limits, err := changedLimits(r.GetLinux())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, s.pods.UpdateMade(ctx, r.GetContainerId(), limits)
}

// ReopenContainerLog implements runtimeapi.RuntimeServiceServer.
func (s *containerServer) ReopenContainerLog(ctx context.Context, r *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	return &runtimeapi.ReopenContainerLogResponse{}, s.pods.ReopenMade(ctx, r.GetContainerId())
}
