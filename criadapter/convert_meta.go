package criadapter

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// podMetadata is what the kubelet calls a sandbox.
func podMetadata(s pod.Sandbox) *runtimeapi.PodSandboxMetadata {
	k := s.Config.Kube
	return &runtimeapi.PodSandboxMetadata{Name: k.Name, Namespace: k.Namespace, Uid: k.UID, Attempt: k.Attempt}
}

// containerMetadata is what the kubelet calls a container.
func containerMetadata(c ctr.Container) *runtimeapi.ContainerMetadata {
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
