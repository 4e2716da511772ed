package criadapter

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// containerEvent is an event as the API tells it. One of a sandbox has the
// sandbox's ID for the container's, as the kubelet takes it.
func containerEvent(e pod.Event) *runtimeapi.ContainerEventResponse {
	out := &runtimeapi.ContainerEventResponse{
		ContainerId: e.ID, CreatedAt: e.At.UnixNano(),
		PodSandboxStatus: sandboxStatus(e.Sandbox), ContainersStatuses: containerStatuses(e.Containers),
	}
	switch e.Kind {
	case pod.EventCreated:
		out.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT
	case pod.EventStarted:
		out.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT
	case pod.EventStopped:
		out.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT
	case pod.EventDeleted:
		out.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT
	}
	return out
}

// containerStatuses are those of a sandbox's containers, infra apart.
func containerStatuses(containers []ctr.Container) []*runtimeapi.ContainerStatus {
	var out []*runtimeapi.ContainerStatus
	for _, k := range containers {
		if !k.Config.Infra {
			out = append(out, containerStatus(k))
		}
	}
	return out
}
