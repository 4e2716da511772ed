//go:build rootful

package criadapter_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestEvents: each change of a sandbox and a container is told once and in order,
// whoever made it: the API, the container itself, the command line, or nobody,
// when its monitor was killed first.
func TestEvents(t *testing.T) {
	r := newRig(t, "")
	stream, err := r.GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan *runtimeapi.ContainerEventResponse, 100)
	go func() {
		defer close(events)
		for {
			e, err := stream.Recv()
			if err != nil {
				return
			}
			events <- e
		}
	}()
	names := map[string]string{}
	// told waits for events, "created pod" and the like, within a second or two.
	told := func(want ...string) (last *runtimeapi.ContainerEventResponse) {
		t.Helper()
		for _, w := range want {
			select {
			case last = <-events:
			case <-time.After(2 * time.Second):
				t.Fatalf("no event %q within two seconds", w)
			}
			kind := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(last.ContainerEventType.String(), "CONTAINER_"), "_EVENT"))
			if got := kind + " " + names[last.ContainerId]; got != w {
				t.Fatalf("event %q (%s), want %q", got, last.ContainerId, w)
			}
			if last.PodSandboxStatus.GetMetadata().GetName() != "events" || last.CreatedAt <= 0 {
				t.Errorf("event %v is not of the sandbox", last)
			}
		}
		return last
	}
	time.Sleep(100 * time.Millisecond) // for the subscription
	c := r.podConfig("events")
	c.Linux.SecurityContext = &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{
		Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER,
	}}
	pod := r.sandbox(t, c)
	names[pod] = "pod"
	told("created pod", "started pod")

	one := r.create(t, pod, r.containerConfig("one", "exit 3"))
	names[one] = "one"
	told("created one")
	r.begin(t, one)
	e := told("started one", "stopped one")
	if s := e.ContainersStatuses; len(s) != 1 || s[0].State != runtimeapi.ContainerState_CONTAINER_EXITED || s[0].ExitCode != 3 {
		t.Errorf("at its end the statuses are %v", s)
	}

	two := r.run(t, pod, r.containerConfig("two", "sleep 1000"))
	names[two] = "two"
	told("created two", "started two")
	if _, err := r.davit.Run(t.Context(), "rm", "--force", "--time", "0", two); err != nil {
		t.Fatal(err)
	}
	told("stopped two", "deleted two")

	three := r.run(t, pod, r.containerConfig("three", "sleep 1000"))
	names[three] = "three"
	told("created three", "started three")
	for _, name := range []string{"conmon", "sleep"} {
		kill(t, name, three)
	}
	told("stopped three")
	if s := r.status(t, three); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.Reason != "MonitorLost" {
		t.Errorf("after its monitor was killed: %v", s)
	}

	if _, err := r.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	if e := told("stopped pod"); e.PodSandboxStatus.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("the stopped sandbox is %s", e.PodSandboxStatus.State)
	}
	if _, err := r.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: one}); err != nil {
		t.Fatal(err)
	}
	told("deleted one")
	if _, err := r.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	told("deleted three", "deleted pod")
	select {
	case e := <-events:
		t.Errorf("one more event: %v", e)
	case <-time.After(200 * time.Millisecond):
	}
}

// kill kills the processes of a container that have that name, once there are some:
// its monitor, by its arguments, or those in its cgroup.
func kill(t *testing.T, name, id string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !killed(name, id); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no process %q of container %s", name, id)
		}
	}
}

func killed(name, id string) bool {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	found := false
	for _, p := range procs {
		comm, _ := os.ReadFile(p + "/comm")
		args, _ := os.ReadFile(p + "/cmdline")
		groups, _ := os.ReadFile(p + "/cgroup")
		if strings.TrimSpace(string(comm)) != name || !strings.Contains(string(args)+string(groups), id) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(p))
		found = syscall.Kill(pid, syscall.SIGKILL) == nil || found
	}
	return found
}
