//go:build faults || faultslong

package faults

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// server is a serve-cri on a node's roots, and its clients.
type server struct {
	runtimeapi.RuntimeServiceClient
	images runtimeapi.ImageServiceClient
	*harness.CRIServer
	conn *grpc.ClientConn
	n    *node
}

// serve starts a server, which is stopped when the test ends. The node needs pod
// networks (Roots.AddPodNetwork) only for sandboxes that are not on the host's.
func (n *node) serve() *server {
	n.t.Helper()
	s := &server{n: n}
	s.start()
	n.t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			n.t.Error(err)
		}
		if n.t.Failed() {
			log, _ := os.ReadFile(s.LogAt)
			n.t.Logf("the server says:\n%s", log)
		}
	})
	var err error
	s.conn, err = grpc.NewClient("unix://"+s.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(bounded))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = s.conn.Close() })
	s.RuntimeServiceClient, s.images = runtimeapi.NewRuntimeServiceClient(s.conn), runtimeapi.NewImageServiceClient(s.conn)
	return s
}

// bounded gives a call, which may hang, an end.
func bounded(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, endless)
	defer cancel()
	return call(ctx, method, request, answer, conn, opts...)
}

// start starts the server's process; the one before has been stopped or killed.
func (s *server) start() {
	s.n.t.Helper()
	started, err := harness.StartCRI(context.WithoutCancel(s.n.t.Context()), s.n.Davit, filepath.Join(s.n.Roots.Dir, "server.log"))
	if err != nil {
		s.n.t.Fatal(err)
	}
	s.CRIServer = started
	if s.conn != nil {
		s.conn.ResetConnectBackoff()
		s.version()
	}
}

// version calls Version, as soon as the server answers.
func (s *server) version() {
	s.n.t.Helper()
	if _, err := s.Version(s.n.t.Context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		s.n.t.Fatal(err)
	}
}

// podConfig is a sandbox on the host's network, which needs no CNI.
func (s *server) podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name},
		LogDirectory: filepath.Join(s.n.Roots.Dir, "logs", name),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

// containerConfig is a container that runs a shell script.
func (s *server) containerConfig(name, script string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: s.n.image},
		Command: []string{"sh", "-c", script}, LogPath: name + ".log",
	}
}

// sandbox runs a sandbox.
func (s *server) sandbox(c *runtimeapi.PodSandboxConfig) string {
	s.n.t.Helper()
	out, err := s.RunPodSandbox(s.n.t.Context(), &runtimeapi.RunPodSandboxRequest{Config: c})
	if err != nil {
		s.n.t.Fatal(err)
	}
	return out.PodSandboxId
}

// container creates and starts a container.
func (s *server) container(sandbox string, c *runtimeapi.ContainerConfig) string {
	s.n.t.Helper()
	out, err := s.CreateContainer(s.n.t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: c})
	if err == nil {
		_, err = s.StartContainer(s.n.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: out.ContainerId})
	}
	if err != nil {
		s.n.t.Fatal(err)
	}
	return out.ContainerId
}

// status is a container's.
func (s *server) status(id string) *runtimeapi.ContainerStatus {
	s.n.t.Helper()
	out, err := s.ContainerStatus(s.n.t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		s.n.t.Fatal(err)
	}
	return out.Status
}

// remove stops and removes a sandbox with what is in it.
func (s *server) remove(sandbox string) {
	s.n.t.Helper()
	ctx := context.WithoutCancel(s.n.t.Context())
	_, err := s.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: sandbox})
	if err == nil {
		_, err = s.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sandbox})
	}
	if err != nil {
		s.n.t.Error(err)
	}
}

// A killed server's work is there after its restart: the smallest form of F5.
func TestF5KilledServerKeepsContainers(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("kept"))
	id := s.container(pod, s.containerConfig("c", "exec sleep 1000"))
	before := s.status(id)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	s.start()
	after := s.status(id)
	if after.State != runtimeapi.ContainerState_CONTAINER_RUNNING || after.StartedAt != before.StartedAt {
		t.Errorf("the container is %s since %d, was running since %d", after.State, after.StartedAt, before.StartedAt)
	}
	s.remove(pod)
}
