package criadapter

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// podMetadata is what the kubelet calls a sandbox.
func podMetadata(s *pod.Sandbox) *runtimeapi.PodSandboxMetadata {
	k := s.Config.Kube
	return &runtimeapi.PodSandboxMetadata{Name: k.Name, Namespace: k.Namespace, Uid: k.UID, Attempt: k.Attempt}
}

// containerMetadata is what the kubelet calls a container.
func containerMetadata(c *ctr.Container) *runtimeapi.ContainerMetadata {
	return &runtimeapi.ContainerMetadata{Name: c.Config.Kube.Name, Attempt: c.Config.Kube.Attempt}
}

// imageID is how the API spells an image's ID, in an Image, a container's status
// and the answer to a pull alike. It is empty for none.
func imageID(id string) string {
	if id == "" {
		return ""
	}
	return "sha256:" + id
}

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
