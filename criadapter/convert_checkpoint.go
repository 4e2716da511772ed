package criadapter

import (
	"maps"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/pod"
)

// noOptions refuses options of checkpoints: there are none that davit knows.
func noOptions(options map[string]string) error {
	if len(options) > 0 {
		return invalid("unknown checkpoint options: %q", slices.Sorted(maps.Keys(options)))
	}
	return nil
}

// podRestore is what RestorePod asks for: the sandbox and the containers as
// RunPodSandbox and CreateContainer would make them.
func podRestore(r *runtimeapi.RestorePodRequest) (pod.Restore, error) {
	out := pod.Restore{Dir: r.GetCheckpointPath()}
	if err := noOptions(r.GetOptions()); err != nil {
		return out, err
	}
	var err error
	out.Config, err = sandboxConfig(&runtimeapi.RunPodSandboxRequest{Config: r.GetConfig(), RuntimeHandler: r.GetRuntimeHandler()})
	if err != nil {
		return out, err
	}
	for _, c := range r.GetContainerConfigs() {
		cfg, err := containerConfig(&runtimeapi.CreateContainerRequest{Config: c, SandboxConfig: r.GetConfig()})
		if err != nil {
			return out, err
		}
		out.Containers = append(out.Containers, cfg)
	}
	return out, nil
}

// restoredPod answers in the order of the request.
func restoredPod(id string, r pod.Restore, containers map[string]string) *runtimeapi.RestorePodResponse {
	out := &runtimeapi.RestorePodResponse{PodSandboxId: id}
	for _, c := range r.Containers {
		out.RestoredContainers = append(out.RestoredContainers, &runtimeapi.RestoredContainer{Name: c.Kube.Name, ContainerId: containers[c.Kube.Name]})
	}
	return out
}
