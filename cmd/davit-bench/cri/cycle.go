package cri

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil { // as a kubelet does
		return nil, fmt.Errorf("making the folder of a pod's logs: %w", err)
	}
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

// podConfig is a new pod's, with what a kubelet asks for by default; it is for one
// goroutine at a time.
func (s *running) podConfig() *runtimeapi.PodSandboxConfig {
	s.serial++
	name := "bench-" + strconv.Itoa(s.serial)
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Hostname:     name,
		LogDirectory: filepath.Join(s.about().folder, "logs", name),
		DnsConfig:    &runtimeapi.DNSConfig{Servers: []string{"127.0.0.1"}},
		Labels: map[string]string{
			"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": name + "-uid",
		},
		Annotations: map[string]string{"kubernetes.io/config.source": "api"},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    s.cgroup(),
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: namespaces(), Seccomp: &runtimeapi.SecurityProfile{}},
		},
	}
}

// cgroup is the parent of the cgroups of a server's pods.
func (s *running) cgroup() string { return "/davit-bench-" + filepath.Base(s.about().folder) }

// removeCgroup removes it from all hierarchies, and from the one of cgroup v2.
func (s *running) removeCgroup() error {
	var errs []error
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, _ := filepath.Glob(pattern + s.cgroup())
		for _, dir := range found {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is there by two names
				errs = append(errs, fmt.Errorf("removing the pods' cgroup: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// namespaces are a kubelet's for a pod that asks for nothing: its containers share
// all but the process IDs.
func namespaces() *runtimeapi.NamespaceOption {
	return &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
}

// startPod starts a pod with a container. After an error too, a pod that is
// there is returned.
func (s *running) startPod(ctx context.Context, config *runtimeapi.PodSandboxConfig) (pod, container string, err error) {
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		return "", "", fmt.Errorf("making the folder of a pod's logs: %w", err)
	}
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
			LogPath:  "main_0.log",
			Linux: &runtimeapi.LinuxContainerConfig{
				Resources:       &runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuShares: 2, OomScoreAdj: 1000},
				SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: namespaces(), Seccomp: &runtimeapi.SecurityProfile{}},
			},
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
