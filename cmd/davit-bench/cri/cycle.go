package cri

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

// cycle is the life of one pod with one container: its steps, those up to its
// start together, and all of it.
func (s *running) cycle(ctx context.Context) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	config := s.podConfig()
	began := time.Now()
	last := began
	lap := func() float64 {
		d := time.Since(last)
		last = time.Now()
		return rounds.MS(d)
	}
	pod, err := s.pods.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, fmt.Errorf("running a sandbox: %w", err)
	}
	id := pod.GetPodSandboxId()
	took := []float64{lap()}
	made, err := s.create(ctx, id, config)
	if err != nil {
		return nil, errors.Join(err, s.removePod(ctx, id))
	}
	took = append(took, lap())
	if _, err := s.pods.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: made}); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a container: %w", err), s.removePod(ctx, id))
	}
	took = append(took, lap(), rounds.MS(time.Since(began)))
	if _, err := s.pods.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return nil, fmt.Errorf("stopping a sandbox: %w", err)
	}
	took = append(took, lap())
	if _, err := s.pods.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return nil, fmt.Errorf("removing a sandbox: %w", err)
	}
	return append(took, lap(), rounds.MS(time.Since(began))), nil
}

// podConfig is a new pod's; it is for one goroutine at a time.
func (s *running) podConfig() *runtimeapi.PodSandboxConfig {
	s.serial++
	name := "bench-" + strconv.Itoa(s.serial)
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Hostname: name,
		Linux:    &runtimeapi.LinuxPodSandboxConfig{},
	}
}

// start starts a new pod with a container.
func (s *running) start(ctx context.Context) (pod string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pod, _, err = s.startPod(ctx, s.podConfig())
	return pod, err
}

// startPod starts a pod with a container. After an error too, a pod that is
// there is returned.
func (s *running) startPod(ctx context.Context, config *runtimeapi.PodSandboxConfig) (pod, container string, err error) {
	made, err := s.pods.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		return "", "", fmt.Errorf("running a sandbox: %w", err)
	}
	pod = made.GetPodSandboxId()
	if container, err = s.create(ctx, pod, config); err != nil {
		return pod, "", err
	}
	if _, err := s.pods.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: container}); err != nil {
		return pod, container, fmt.Errorf("starting a container: %w", err)
	}
	return pod, container, nil
}

func (s *running) create(ctx context.Context, pod string, config *runtimeapi.PodSandboxConfig) (string, error) {
	made, err := s.pods.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: pod, SandboxConfig: config,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
			Image:    &runtimeapi.ImageSpec{Image: s.image},
			Command:  []string{"sleep", "100000"},
			Linux:    &runtimeapi.LinuxContainerConfig{},
		},
	})
	if err != nil {
		return "", fmt.Errorf("creating a container: %w", err)
	}
	return made.GetContainerId(), nil
}

// removePod stops a pod and removes it.
func (s *running) removePod(ctx context.Context, pod string) error {
	if _, err := s.pods.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		return fmt.Errorf("stopping a sandbox: %w", err)
	}
	if _, err := s.pods.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		return fmt.Errorf("removing a sandbox: %w", err)
	}
	return nil
}
