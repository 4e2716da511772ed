//go:build faults || faultslong

package faults

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// serveBy is a server that d runs: the one that there is, or a new one in its
// place.
func (r *rig) serveBy(d harness.Davit) *server {
	r.t.Helper()
	if r.server == nil {
		r.server, r.serving = r.kubelet.serve(), true
	}
	if now := r.server.n.Davit; r.serving && now.Bin == d.Bin && slices.Equal(now.Env, d.Env) {
		return r.server
	}
	r.unserve()
	of := *r.kubelet
	of.Davit = d
	r.server.n = &of
	r.server.start()
	r.serving = true
	return r.server
}

// unserve kills the server, if one runs.
func (r *rig) unserve() {
	r.t.Helper()
	if r.server == nil || !r.serving {
		return
	}
	r.serving = false
	if err := r.server.Kill(); err != nil {
		r.t.Fatal(err)
	}
}

// rpc is an operation of a kubelet.
func rpc(call func(context.Context, *rig, *server) error) func(*rig, harness.Davit) error {
	return func(r *rig, d harness.Davit) error {
		r.t.Helper()
		s := r.serveBy(d)
		ctx, cancel := context.WithTimeout(r.t.Context(), r.patience)
		defer cancel()
		return call(ctx, r, s)
	}
}

// rpcs makes calls of a server, all of which succeed.
func rpcs(calls ...func(context.Context, *rig, *server) error) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		for _, c := range calls {
			if err := rpc(c)(r, r.Davit); err != nil {
				r.wrong("%v", err)
			}
		}
	}
}

// kubePod is a sandbox with a network, and a PID namespace that its
// containers share.
func (r *rig) kubePod() *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: "p", Namespace: "default", Uid: "uid-p"},
		LogDirectory: filepath.Join(r.Roots.Dir, "logs"),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_POD},
		}},
	}
}

func runPodSandbox(ctx context.Context, r *rig, s *server) error {
	out, err := s.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: r.kubePod()})
	if err == nil {
		r.pod = out.PodSandboxId
	}
	return err
}

func createContainer(ctx context.Context, r *rig, s *server) error {
	out, err := s.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: r.pod, Config: s.containerConfig("c", "exec sleep inf"), SandboxConfig: r.kubePod(),
	})
	if err == nil {
		r.ctr = out.ContainerId
	}
	return err
}

func startContainer(ctx context.Context, r *rig, s *server) error {
	_, err := s.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: r.ctr})
	return err
}

func stopContainer(ctx context.Context, r *rig, s *server) error {
	_, err := s.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: r.ctr, Timeout: 1})
	return err
}

func removeContainer(ctx context.Context, r *rig, s *server) error {
	_, err := s.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: r.ctr})
	return err
}

func stopPodSandbox(ctx context.Context, r *rig, s *server) error {
	_, err := s.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: r.pod})
	return err
}

func removePodSandbox(ctx context.Context, r *rig, s *server) error {
	_, err := s.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: r.pod})
	return err
}

func execSync(ctx context.Context, r *rig, s *server) error {
	out, err := s.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: r.ctr, Cmd: []string{"true"}, Timeout: 10})
	if err == nil && out.ExitCode != 0 {
		err = fmt.Errorf("exit code %d", out.ExitCode)
	}
	return err
}

func updateContainer(ctx context.Context, r *rig, s *server) error {
	_, err := s.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{
		ContainerId: r.ctr, Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20},
	})
	return err
}

// runs makes sure that the container runs, whoever has started it.
func runs(ctx context.Context, r *rig, s *server) error {
	err := startContainer(ctx, r, s)
	out, serr := s.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: r.ctr})
	switch {
	case serr != nil:
		return errors.Join(err, serr)
	case out.Status.State != runtimeapi.ContainerState_CONTAINER_RUNNING:
		return errors.Join(err, fmt.Errorf("the container is %s", out.Status.State))
	case err != nil && status.Code(err) != codes.FailedPrecondition:
		return err
	}
	return nil
}

// runsOrAnew is runs, but a start that was not killed, and failed, has ended the
// container: then the kubelet makes another one.
func runsOrAnew(ctx context.Context, r *rig, s *server) error {
	out, err := s.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: r.ctr})
	if err != nil {
		return err
	}
	if r.act != kill && out.Status.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		if out.Status.ExitCode == 0 || out.Status.Reason == "Completed" {
			return fmt.Errorf("a container that could not be started has ended with %d, %q", out.Status.ExitCode, out.Status.Reason)
		}
		if err := errors.Join(removeContainer(ctx, r, s), createContainer(ctx, r, s)); err != nil {
			return err
		}
	}
	return runs(ctx, r, s)
}

// clearKube takes away what the kubelet's operations make, as a kubelet does that
// knows the sandboxes from a list.
func clearKube(ctx context.Context, _ *rig, s *server) error {
	all, err := s.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	for _, p := range all.Items {
		if _, err := s.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			return err
		}
		if _, err := s.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			return err
		}
	}
	return nil
}

// one makes sure that there is one sandbox, and that it is ready.
func one(ctx context.Context, r *rig, s *server) error {
	before := runPodSandbox(ctx, r, s)
	all, err := s.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err = errors.Join(before, err); err != nil {
		return err
	}
	if len(all.Items) != 1 || all.Items[0].Id != r.pod || all.Items[0].State != runtimeapi.PodSandboxState_SANDBOX_READY {
		return fmt.Errorf("sandboxes, of which there should be %q and no other: %v", r.pod, all.Items)
	}
	return nil
}

// kubelets are the operations of a kubelet.
func kubelets() []operation {
	running := rpcs(runPodSandbox, createContainer, startContainer)
	return []operation{
		{name: "RunPodSandbox", ready: none, do: rpc(runPodSandbox), again: rpcs(one), clear: clearAll},
		{name: "CreateContainer", ready: rpcs(runPodSandbox), do: rpc(createContainer), again: rpcs(createContainer, runs), clear: clearAll},
		{name: "StartContainer", ready: rpcs(runPodSandbox, createContainer), do: rpc(startContainer), again: rpcs(runsOrAnew), clear: clearAll},
		{name: "StopContainer", ready: running, do: rpc(stopContainer), clear: clearAll},
		{name: "RemoveContainer", ready: running, do: rpc(removeContainer), clear: clearAll, removes: true},
		{name: "StopPodSandbox", ready: running, do: rpc(stopPodSandbox), clear: clearAll},
		{name: "RemovePodSandbox", ready: running, do: rpc(removePodSandbox), clear: clearAll, removes: true},
		{name: "UpdateContainerResources", ready: running, do: rpc(updateContainer), clear: clearAll},
		{name: "ExecSync", ready: running, do: rpc(execSync), clear: clearAll},
	}
}

// failingKubelets are those of a kubelet that fail late, see failing.
func failingKubelets() []operation {
	return []operation{
		{name: "RunPodSandbox fails", with: "pod.ready=error", ready: none, do: rpc(runPodSandbox), again: rpcs(one), clear: clearAll},
		{name: "CreateContainer fails", with: "runtime.created=error", ready: rpcs(runPodSandbox), do: rpc(createContainer),
			again: rpcs(createContainer, runs), clear: clearAll},
		{name: "StartContainer fails", with: "runtime.started=error", ready: rpcs(runPodSandbox, createContainer), do: rpc(startContainer),
			again: none, clear: clearAll},
	}
}

// clearAll is clearKube, and makes sure that all is swept.
func clearAll(r *rig) {
	rpcs(clearKube)(r)
	r.unserve() // killed as it may sweep still, it leaves that to others
	sound(sweep)(r)
}

// sweep is a command that changes nothing but what the dead have left.
const sweep = "rm --ignore nosuch"

// everyOperation is all of the command line's and of a kubelet's.
func everyOperation() []operation {
	return slices.Concat(operations(), failing(), kubelets(), failingKubelets())
}
