//go:build faults || faultslong

package model

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// kubelet is a server, and calls it as a kubelet does.
type kubelet struct {
	*typed
	runtimeapi.RuntimeServiceClient
	image runtimeapi.ImageServiceClient
	proc  *harness.CRIServer
	conn  *grpc.ClientConn
}

var _ face = (*kubelet)(nil)

// serve starts a server.
func (t *typed) serve() (*kubelet, error) {
	proc, err := harness.StartCRI(context.Background(), t.davit, filepath.Join(t.roots.Dir, "server.log"))
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+proc.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		_ = proc.Kill()
		return nil, err
	}
	return &kubelet{
		typed: t, RuntimeServiceClient: runtimeapi.NewRuntimeServiceClient(conn), image: runtimeapi.NewImageServiceClient(conn),
		proc: proc, conn: conn,
	}, nil
}

func (k *kubelet) pid() int { return k.proc.PID() }

func (k *kubelet) end(kill bool) error {
	_ = k.conn.Close()
	if kill {
		return k.proc.Kill()
	}
	return k.proc.Stop()
}

// ask implements face.
func (k *kubelet) ask(o op) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	if o.Do == "dump" {
		d, err := k.dump(ctx)
		return answer{Dump: d}, err
	}
	if o.Kill < 0 && !o.Exit {
		timer := time.AfterFunc(time.Duration(-o.Kill)*time.Microsecond, func() { kill(k.pid()) })
		err := k.do(ctx, o)
		if !timer.Stop() {
			return answer{}, errDied
		}
		return answerOf(err), nil
	}
	return answerOf(k.do(ctx, o)), nil
}

func answerOf(err error) answer {
	if err == nil {
		return answer{}
	}
	class := "other"
	switch status.Code(err) {
	case codes.NotFound:
		class = notFound
	case codes.AlreadyExists:
		class = taken
	case codes.FailedPrecondition:
		class = precondition
	case codes.DeadlineExceeded:
		class = "timeout"
	case codes.Unknown, codes.InvalidArgument:
		if strings.Contains(err.Error(), "not found in the container") || strings.Contains(err.Error(), "/nosuch") {
			class = program
		}
	}
	return answer{Class: class, Says: err.Error()}
}

// kill kills a process, and says how many that were.
func kill(pid int) int {
	if syscall.Kill(pid, syscall.SIGKILL) != nil {
		return 0
	}
	return 1
}

// nobody is an ID that nothing has.
const nobody = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// sandboxes are the names of sandboxes by their IDs, and the other way round.
func (k *kubelet) sandboxes(ctx context.Context) (names, ids map[string]string, states map[string]string, err error) {
	list, err := k.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{}, grpc.WaitForReady(true))
	names, ids, states = map[string]string{}, map[string]string{}, map[string]string{}
	for _, p := range list.GetItems() {
		name := podName(p.Metadata.Name)
		names[p.Id], ids[name], states[name] = name, p.Id, notReady
		if p.State == runtimeapi.PodSandboxState_SANDBOX_READY {
			states[name] = ready
		}
	}
	return names, ids, states, err
}

func (k *kubelet) do(ctx context.Context, o op) error {
	names, ids, _, err := k.sandboxes(ctx)
	if err != nil {
		return err
	}
	id := func(name string) string {
		if id := ids[name]; id != "" {
			return id
		}
		return nobody
	}
	switch o.Do {
	case "runp":
		_, err = k.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: k.sandboxConfig(o.Name)})
		return err
	case "stopp":
		_, err = k.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id(o.Name)})
		return err
	case "rmp":
		_, err = k.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id(o.Name)})
		return err
	case "cri create":
		_, err = k.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
			PodSandboxId: id(o.Pod), Config: k.containerConfig(o), SandboxConfig: k.sandboxConfig(o.Pod),
		})
		return err
	}
	ctrs, err := k.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	at := nobody
	for _, c := range ctrs.Containers {
		if fullName(c, names) == o.Name {
			at = c.Id
		}
	}
	switch o.Do {
	case "cri start":
		_, err = k.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: at})
	case "cri stop":
		timeout := int64(10)
		if o.Force {
			timeout = 0
		}
		_, err = k.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: at, Timeout: timeout})
	case "cri rm":
		_, err = k.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: at})
	}
	return err
}

// fullName is a container's record's name.
func fullName(c *runtimeapi.Container, sandboxes map[string]string) string {
	parts := strings.Split(sandboxes[c.PodSandboxId], "_")
	if len(parts) < 2 {
		return c.Metadata.Name + " of an unknown sandbox"
	}
	return kubeName(parts[1], c.Metadata.Name)
}

func (k *kubelet) sandboxConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: strings.Split(name, "_")[1], Namespace: "default", Uid: "uid"},
		LogDirectory: filepath.Join(k.roots.Dir, "logs", name),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

func (k *kubelet) containerConfig(o op) *runtimeapi.ContainerConfig {
	name := strings.Split(o.Name, "_")[1]
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, LogPath: name + ".log",
		Image:   &runtimeapi.ImageSpec{Image: k.images.registry.Ref(o.Image + ":latest")},
		Command: strings.Fields(cmdline(o.What)),
	}
}

// dump is what the kubelet is told: of its own pods and containers, and of images.
func (k *kubelet) dump(ctx context.Context) (*dump, error) {
	names, _, states, err := k.sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	d := &dump{}
	for name, state := range states {
		d.Lines = append(d.Lines, podLine(name, state))
	}
	ctrs, err := k.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	for _, c := range ctrs.Containers {
		s, err := k.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.Id})
		if err != nil {
			return nil, err
		}
		state := map[runtimeapi.ContainerState]string{
			runtimeapi.ContainerState_CONTAINER_CREATED: created, runtimeapi.ContainerState_CONTAINER_RUNNING: running,
			runtimeapi.ContainerState_CONTAINER_EXITED: stopped,
		}[s.Status.State]
		d.Lines = append(d.Lines, containerLine(fullName(c, names), names[c.PodSandboxId], k.short[strings.TrimPrefix(s.Status.ImageId, "sha256:")], state, int(s.Status.ExitCode)))
	}
	images, err := k.image.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, err
	}
	for _, i := range images.Images {
		d.Lines = append(d.Lines, imageLine(k.short[strings.TrimPrefix(i.Id, "sha256:")], k.images.shortened(i.RepoTags)))
	}
	slices.Sort(d.Lines)
	return d, nil
}

// kubelet is the world as a kubelet is told of it.
func (w *world) kubelet() []string {
	var out []string
	for name, p := range w.pods {
		state := notReady
		if p.state == ready {
			state = ready
		}
		if p.kube {
			out = append(out, podLine(name, state))
		}
	}
	for name, c := range w.ctrs {
		state, code := c.state, c.code
		if state == paused {
			state = running
		}
		if code == unknown {
			code = 255
		}
		if c.kube {
			out = append(out, containerLine(name, c.pod, c.image, state, code))
		}
	}
	for image := range w.images {
		out = append(out, imageLine(image, w.namesOf(image)))
	}
	slices.Sort(out)
	return out
}
