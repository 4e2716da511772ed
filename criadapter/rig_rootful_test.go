//go:build rootful

package criadapter_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// rig is the built davit on roots of its own, serving CRI as a process of its own,
// and a client. A test may so kill the server, and use the command line beside it.
// The roots are checked for leaks at the end.
type rig struct {
	runtimeapi.RuntimeServiceClient
	images   runtimeapi.ImageServiceClient
	davit    harness.Davit
	server   *harness.CRIServer
	conn     *grpc.ClientConn
	registry *harness.Registry
	image    string // busybox, pulled
	dir      string // for what the test makes; goes with the roots
	logs     string // the sandboxes' log folder
}

// newRig starts a server with one image. extra is appended to davit's
// configuration.
func newRig(t *testing.T, extra string) *rig {
	t.Helper()
	d := harness.TestDavit(t)
	registry := harness.TestRegistry(t, harness.RegistryConfig{})
	img, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	if err == nil {
		err = registry.Push(t.Context(), "busybox:1", img)
	}
	if err == nil {
		err = d.Roots.TrustRegistry(registry.Addr)
	}
	if err == nil {
		err = d.Roots.AddPodNetwork(93)
	}
	if err == nil {
		err = d.Roots.Configure(extra)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{davit: d, registry: registry, image: registry.Ref("busybox:1"), dir: filepath.Join(d.Roots.Dir, "test"), logs: filepath.Join(d.Roots.Dir, "logs")}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	t.Cleanup(func() {
		if err := r.server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(r.server.LogAt)
			t.Logf("the server says:\n%s", log)
		}
	})
	r.conn, err = grpc.NewClient("unix://"+r.server.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.conn.Close() })
	r.RuntimeServiceClient, r.images = runtimeapi.NewRuntimeServiceClient(r.conn), runtimeapi.NewImageServiceClient(r.conn)
	if _, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: r.image}}); err != nil {
		t.Fatal(err)
	}
	return r
}

// start starts a server; the one before has been stopped or killed.
func (r *rig) start(t *testing.T) {
	t.Helper()
	var err error
	if r.server, err = harness.StartCRI(context.WithoutCancel(t.Context()), r.davit, filepath.Join(r.davit.Roots.Dir, "server.log")); err != nil {
		t.Fatal(err)
	}
}

// restart kills the server and starts another.
func (r *rig) restart(t *testing.T) {
	t.Helper()
	if err := r.server.Kill(); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	r.conn.ResetConnectBackoff()
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := r.Version(t.Context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// podConfig is a sandbox on the host's network, which needs no CNI.
func (r *rig) podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name},
		LogDirectory: filepath.Join(r.logs, name),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

// sandbox runs a sandbox until the test ends.
func (r *rig) sandbox(t *testing.T, c *runtimeapi.PodSandboxConfig) string {
	t.Helper()
	out, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.removeSandbox(t, out.PodSandboxId) })
	return out.PodSandboxId
}

func (r *rig) removeSandbox(t *testing.T, id string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if _, err := r.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Error(err)
	}
	if _, err := r.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Error(err)
	}
}

// containerConfig is a container that runs a shell script.
func (r *rig) containerConfig(name, script string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: r.image},
		Command: []string{"sh", "-c", script}, LogPath: name + "/0.log",
	}
}

// create creates a container.
func (r *rig) create(t *testing.T, sandbox string, c *runtimeapi.ContainerConfig) string {
	t.Helper()
	out, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: c})
	if err != nil {
		t.Fatal(err)
	}
	return out.ContainerId
}

// run creates and starts a container.
func (r *rig) run(t *testing.T, sandbox string, c *runtimeapi.ContainerConfig) string {
	t.Helper()
	id := r.create(t, sandbox, c)
	r.begin(t, id)
	return id
}

// begin starts a container.
func (r *rig) begin(t *testing.T, id string) {
	t.Helper()
	if _, err := r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
}

// status is a container's.
func (r *rig) status(t *testing.T, id string) *runtimeapi.ContainerStatus {
	t.Helper()
	out, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		t.Fatal(err)
	}
	return out.Status
}

// ended waits for a container's end, and returns its status.
func (r *rig) ended(t *testing.T, id string) *runtimeapi.ContainerStatus {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s := r.status(t, id)
		if s.State == runtimeapi.ContainerState_CONTAINER_EXITED {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the container is %s", s.State)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop stops a container and returns how long that took.
func (r *rig) stop(t *testing.T, id string, timeout int64) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := r.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: timeout}); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}

// refused checks the class of an error.
func refused(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("error %v of class %s, want %s", err, got, want)
	}
}
