package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cycle is the life of one pod with one container.
func (s *running) cycle(ctx context.Context) (map[Stage]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	took := map[Stage]time.Duration{}
	began := time.Now()
	last := began
	lap := func() time.Duration {
		now := time.Now()
		d := now.Sub(last)
		last = now
		return d
	}
	config := s.podConfig()
	pod, err := s.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, fmt.Errorf("running a sandbox: %w", err)
	}
	took[RunPod] = lap()
	if err := s.startContainer(ctx, pod.GetPodSandboxId(), config); err != nil {
		return nil, errors.Join(err, s.removePod(ctx, pod.GetPodSandboxId()))
	}
	took[Start] = lap()
	if _, err := s.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod.GetPodSandboxId()}); err != nil {
		return nil, fmt.Errorf("stopping a sandbox: %w", err)
	}
	took[StopPod] = lap()
	if err := s.removePod(ctx, pod.GetPodSandboxId()); err != nil {
		return nil, err
	}
	took[Whole] = time.Since(began)
	return took, nil
}

func (s *running) podConfig() *runtimeapi.PodSandboxConfig {
	s.serial++
	name := "bench-" + strconv.Itoa(s.serial)
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Hostname: name,
		Linux:    &runtimeapi.LinuxPodSandboxConfig{},
	}
}

func (s *running) startContainer(ctx context.Context, pod string, config *runtimeapi.PodSandboxConfig) error {
	made, err := s.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: pod, SandboxConfig: config,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
			Image:    &runtimeapi.ImageSpec{Image: s.image},
			Command:  []string{"sleep", "1000"},
			Linux:    &runtimeapi.LinuxContainerConfig{},
		},
	})
	if err != nil {
		return fmt.Errorf("creating a container: %w", err)
	}
	if _, err := s.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: made.GetContainerId()}); err != nil {
		return fmt.Errorf("starting a container: %w", err)
	}
	return nil
}

func (s *running) removePod(ctx context.Context, pod string) error {
	if _, err := s.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		return fmt.Errorf("removing a sandbox: %w", err)
	}
	return nil
}

// measurePods starts n pods with a container each, reads the server's memory,
// and removes them.
func (s *running) measurePods(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var pods []string
	for range n {
		config := s.podConfig()
		pod, err := s.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
		if err != nil {
			return fmt.Errorf("running a sandbox: %w", err)
		}
		pods = append(pods, pod.GetPodSandboxId())
		if err := s.startContainer(ctx, pod.GetPodSandboxId(), config); err != nil {
			return err
		}
	}
	s.measured.RSSWithPods = rss(s.pid())
	for _, pod := range pods {
		if _, err := s.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
			return fmt.Errorf("stopping a sandbox: %w", err)
		}
		if err := s.removePod(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

// rss is the resident memory of a process in bytes, 0 where it cannot be read.
func rss(pid int) int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// cpuTime is what a process has used of CPUs, in the kernel's ticks of 10 ms
// (proc_pid_stat(5), fields 14 and 15).
func cpuTime(pid int) time.Duration {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
