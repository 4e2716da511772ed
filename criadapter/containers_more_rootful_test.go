//go:build rootful

package criadapter_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func itoa(n int) string { return strconv.Itoa(n) }

// pidOf is the process in a verbose status.
func pidOf(t *testing.T, info string) int {
	t.Helper()
	var v struct{ Pid int }
	if err := json.Unmarshal([]byte(info), &v); err != nil || v.Pid == 0 {
		t.Fatalf("no pid in %s: %v", info, err)
	}
	return v.Pid
}

// Limits change all or not at all, are what the container's cgroup says, and
// outlive the server.
func containerUpdates(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("updates"))
	c := r.containerConfig("busy", "x=$(head -c 8000000 /dev/zero | tr '\\0' x); cat; sleep 100")
	c.Stdin = true
	c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{
		MemoryLimitInBytes: 128 << 20, CpuShares: 512, CpuQuota: 50000, CpuPeriod: 100000, OomScoreAdj: 500,
	}}
	id := r.create(t, pod, c)
	update := func(l *runtimeapi.LinuxContainerResources) error {
		_, err := r.UpdateContainerResources(t.Context(), &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: l})
		return err
	}
	limits := func() *runtimeapi.LinuxContainerResources { return r.status(t, id).Resources.Linux }
	if l := limits(); l.MemoryLimitInBytes != 128<<20 || l.CpuShares != 512 || l.OomScoreAdj != 500 {
		t.Errorf("made with %v", l)
	}
	if err := update(&runtimeapi.LinuxContainerResources{CpuShares: 1024, OomScoreAdj: 600}); err != nil { // created
		t.Error(err)
	}
	r.begin(t, id)
	time.Sleep(500 * time.Millisecond)
	if err := update(&runtimeapi.LinuxContainerResources{CpuQuota: 70000, MemoryLimitInBytes: 100 << 20, OomScoreAdj: 700}); err != nil {
		t.Error(err)
	}
	want := func(when string) {
		t.Helper()
		l := limits()
		if l.MemoryLimitInBytes != 100<<20 || l.CpuShares != 1024 || l.CpuQuota != 70000 || l.CpuPeriod != 100000 || l.OomScoreAdj != 700 {
			t.Errorf("%s: %v", when, l)
		}
		for file, value := range map[string]string{"memory/memory.limit_in_bytes": "104857600", "cpu/cpu.shares": "1024", "cpu/cpu.cfs_quota_us": "70000"} {
			if got := r.exec(t, id, "cat", "/sys/fs/cgroup/"+file); got != value {
				t.Errorf("%s: %s is %q, want %q", when, file, got, value)
			}
		}
		if got := r.exec(t, id, "cat", "/proc/1/oom_score_adj"); got != "700" {
			t.Errorf("%s: the score is %q", when, got)
		}
	}
	want("updated")
	// What an update does not name stays: a kubelet that assigns CPUs sends those alone.
	if err := update(&runtimeapi.LinuxContainerResources{CpusetCpus: "0"}); err != nil {
		t.Error(err)
	}
	want("updated with a cpuset alone")
	// A limit below what is used changes nothing, nor do others with it.
	refused(t, update(&runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 2 << 20, CpuShares: 77}), codes.FailedPrecondition)
	want("refused for memory")
	if err := update(&runtimeapi.LinuxContainerResources{CpusetCpus: "4000", CpuShares: 77}); err == nil {
		t.Error("a CPU that is not there was given")
	}
	want("refused by the kernel")
	refused(t, update(&runtimeapi.LinuxContainerResources{MemorySwapLimitInBytes: 1 << 20}), codes.InvalidArgument)
	r.restart(t)
	want("after a restart")
	r.stop(t, id, 0)
	refused(t, update(&runtimeapi.LinuxContainerResources{CpuShares: 77}), codes.FailedPrecondition)
	if l := limits(); l.CpuShares != 1024 {
		t.Errorf("stopped with %v", l)
	}
}

// What people type of an ID is enough, and what they ask for is done: nothing is said
// to be stopped that was not found.
func containerShortIDs(t *testing.T, r *rig) {
	const short = 13 // as crictl shows IDs
	pod := r.sandbox(t, r.podConfig("short"))
	full := r.create(t, pod[:short], r.containerConfig("web", "exec sleep 100"))
	id := full[:short]
	r.begin(t, id)
	if s := r.status(t, id); s.Id != full || s.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("started: %v", s)
	}
	if got := r.listed(t, &runtimeapi.ContainerFilter{PodSandboxId: pod}); len(got) != 1 || got[0] != full {
		t.Errorf("the sandbox has %v", got)
	}
	if got := r.exec(t, id, "echo", "hi"); got != "hi" {
		t.Errorf("exec: %q", got)
	}
	if _, err := r.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"true"}, Stdout: true}); err != nil {
		t.Errorf("exec: %v", err)
	}
	if _, err := r.Attach(t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdout: true}); err != nil {
		t.Errorf("attach: %v", err)
	}
	if _, err := r.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: pod[:short], Port: []int32{80}}); err != nil {
		t.Errorf("port-forward: %v", err)
	}
	if s, err := r.ContainerStats(t.Context(), &runtimeapi.ContainerStatsRequest{ContainerId: id}); err != nil || s.Stats.Attributes.Id != full {
		t.Errorf("stats: %v, %v", s, err)
	}
	if _, err := r.UpdateContainerResources(t.Context(), &runtimeapi.UpdateContainerResourcesRequest{
		ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{CpuShares: 77}}); err != nil {
		t.Errorf("update: %v", err)
	}
	r.stop(t, id, 0)
	if s := r.status(t, full); s.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		t.Errorf("stopped: %v", s)
	}
	r.remove(t, id)
	_, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: full})
	refused(t, err, codes.NotFound)
	if s, err := r.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod[:short]}); err != nil || s.Status.Id != pod {
		t.Errorf("the sandbox: %v, %v", s, err)
	}
	r.removeSandbox(t, pod[:short])
	_, err = r.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
	refused(t, err, codes.NotFound)
	// An image's too.
	image, err := r.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: r.image}})
	if err != nil || image.Image == nil {
		t.Fatalf("the image: %v, %v", image, err)
	}
	spec := &runtimeapi.ImageSpec{Image: strings.TrimPrefix(image.Image.Id, "sha256:")[:short]}
	if got, err := r.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: spec}); err != nil || got.Image.GetId() != image.Image.Id {
		t.Errorf("the image: %v, %v", got, err)
	}
	if _, err := r.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: spec}); err != nil {
		t.Error(err)
	}
	if got, err := r.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: r.image}}); err != nil || got.Image != nil {
		t.Errorf("the image is removed and there: %v, %v", got, err)
	}
	if _, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: r.image}}); err != nil {
		t.Fatal(err)
	}
}

// exec runs a command in a container and returns what it prints.
func (r *rig) exec(t *testing.T, id string, command ...string) string {
	t.Helper()
	out, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: 10})
	if err != nil || out.ExitCode != 0 {
		t.Errorf("%v: %v, %v", command, out, err)
	}
	return strings.TrimSpace(string(out.GetStdout()))
}

// A server that is killed at any moment of a creation leaves a whole container or
// none; the retry makes one.
func containerKilledServer(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("killed"))
	c := r.containerConfig("c", "exec sleep 100")
	for after := time.Millisecond; after < 70*time.Millisecond; after += 13 * time.Millisecond {
		made := make(chan struct{})
		go func() {
			defer close(made)
			_, _ = r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
		}()
		time.Sleep(after)
		r.restart(t)
		<-made
		id := r.create(t, pod, c)
		if got := r.listed(t, &runtimeapi.ContainerFilter{PodSandboxId: pod}); len(got) != 1 || got[0] != id {
			t.Errorf("killed after %s: there are %v", after, got)
		}
		r.begin(t, id)
		if s := r.status(t, id); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("killed after %s: %v", after, s)
		}
		r.remove(t, id)
	}
}

// The command line works on the kubelet's containers, and the server sees it.
func containerFaces(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("faces"))
	id := r.run(t, pod, r.containerConfig("web", "echo to the log; exec sleep 100"))
	run := func(args ...string) string {
		t.Helper()
		out, err := r.davit.Run(t.Context(), args...)
		if err != nil || out.Code != 0 {
			t.Errorf("davit %v: exit code %d, %v\n%s", args, out.Code, err, out.Stderr)
		}
		return out.Stdout
	}
	awaitText(t, r.logs+"/faces/web/0.log")
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"k8s_web_faces_default_uid-faces_0_0", []string{"ps"}},
		{"to the log", []string{"logs", id}},
		{"hi", []string{"exec", id, "echo", "hi"}},
		{r.logs + "/faces/web/0.log", []string{"inspect", id}},
		{id[:12], []string{"stats", "--no-stream", id}},
	} {
		if got := run(tt.args...); !strings.Contains(got, tt.want) {
			t.Errorf("davit %v says %q, without %q", tt.args, got, tt.want)
		}
	}
	for _, verb := range []string{"stop", "rm", "kill", "pause", "restart"} {
		out, err := r.davit.Run(t.Context(), verb, id)
		if err != nil || out.Code == 0 || !strings.Contains(out.Stderr, "--force") {
			t.Errorf("davit %s: exit code %d, %v\n%s", verb, out.Code, err, out.Stderr)
		}
	}
	if s := r.status(t, id); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("after refused commands: %v", s)
	}
	run("stop", "--force", "-t", "0", id)
	deadline := time.Now().Add(time.Second)
	if s := r.ended(t, id); s.ExitCode != 137 || time.Now().After(deadline) {
		t.Errorf("stopped by the command line: %v", s)
	}
	run("rm", "--force", id)
	if got := r.listed(t, &runtimeapi.ContainerFilter{Id: id}); len(got) != 0 {
		t.Errorf("removed by the command line, and listed: %v", got)
	}
	// What is made by hand is not the kubelet's.
	own := strings.TrimSpace(run("run", "-d", "--network", "none", r.image, "sleep", "100"))
	if got := r.listed(t, &runtimeapi.ContainerFilter{Id: own}); len(got) != 0 {
		t.Errorf("the command line's container is listed: %v", got)
	}
	_, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: own})
	refused(t, err, codes.NotFound)
	r.remove(t, own)
	run("rm", "--force", "-t", "0", own)
}

// What depends on the runtime is so with the other one, too.
func TestContainersOfCrun(t *testing.T) {
	r := newRig(t, "[engine]\nruntime = \"crun\"\n")
	t.Run("updates", func(t *testing.T) { containerUpdates(t, r) })
	t.Run("cannot start", func(t *testing.T) { containerCannotStart(t, r) })
}
