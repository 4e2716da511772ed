//go:build rootful

package criadapter_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestContainers tells what happens to containers over CRI, in one server.
func TestContainers(t *testing.T) {
	r := newRig(t, "")
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"life", containerLife},
		{"refused", containerRefused},
		{"retries", containerRetries},
		{"client gives up", containerGivenUp},
		{"exits", containerExits},
		{"cannot start", containerCannotStart},
		{"stops", containerStops},
		{"logs", containerLogs},
		{"updates", containerUpdates},
		{"short IDs", containerShortIDs},
		{"killed server", containerKilledServer},
		{"both faces", containerFaces},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, r) })
	}
}

func containerLife(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("life"))
	c := r.containerConfig("web", "echo hello; exec sleep 100")
	c.Labels, c.Annotations = map[string]string{"app": "web"}, map[string]string{"note": "kept"}
	c.Image.UserSpecifiedImage = "busybox:of-the-user"
	c.StopSignal = runtimeapi.Signal_SIGNAL_SIGRTMAXMINUS3
	c.Mounts = []*runtimeapi.Mount{{HostPath: r.dir, ContainerPath: "/data", Readonly: true, MountOptions: []string{"noexec"}}}
	c.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("1")}, {Key: "A", Value: []byte("2")}}
	id := r.create(t, pod, c)

	s := r.status(t, id)
	if s.State != runtimeapi.ContainerState_CONTAINER_CREATED || s.CreatedAt == 0 || s.StartedAt != 0 || s.FinishedAt != 0 {
		t.Errorf("created: %v", s)
	}
	if s.ImageId == "" || s.Image.Image != "busybox:of-the-user" || s.Labels["app"] != "web" || s.Annotations["note"] != "kept" {
		t.Errorf("created: %v", s)
	}
	if s.StopSignal != c.StopSignal || s.GetUser().GetLinux() == nil || s.LogPath != filepath.Join(r.logs, "life/web/0.log") {
		t.Errorf("created: %v", s)
	}
	if len(s.Mounts) != 1 || s.Mounts[0].String() != c.Mounts[0].String() {
		t.Errorf("mounts %v, want %v", s.Mounts, c.Mounts)
	}
	images, err := r.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: r.image}})
	if err != nil || images.Image.GetId() != s.ImageId {
		t.Errorf("image ID %q of the container, %v of the image, %v", s.ImageId, images, err)
	}

	r.begin(t, id)
	if s := r.status(t, id); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING || s.StartedAt < s.CreatedAt {
		t.Errorf("started: %v", s)
	}
	_, err = r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id})
	refused(t, err, codes.FailedPrecondition)
	for _, f := range []*runtimeapi.ContainerFilter{
		{Id: id}, {Id: id[:9]}, {PodSandboxId: pod}, {LabelSelector: map[string]string{"app": "web"}, PodSandboxId: pod},
		{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}, PodSandboxId: pod},
	} {
		if got := r.listed(t, f); !slices.Equal(got, []string{id}) {
			t.Errorf("list of %v: %v", f, got)
		}
	}
	for _, f := range []*runtimeapi.ContainerFilter{
		{Id: "0123"}, {PodSandboxId: strings.Repeat("0", 64)}, {Id: id, LabelSelector: map[string]string{"app": "x"}},
		{Id: id, State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_EXITED}},
	} {
		if got := r.listed(t, f); len(got) != 0 {
			t.Errorf("list of %v: %v", f, got)
		}
	}
	// The sandbox is on the host's network, and has the host's name.
	if node, err := os.Hostname(); err != nil || r.exec(t, id, "sh", "-c", "echo $HOSTNAME; uname -n; cat /etc/hostname") != node+"\n"+node+"\n"+node {
		t.Errorf("the container is not told that it is on %q: %v", node, err)
	}
	verbose, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil || !strings.Contains(verbose.Info["info"], `"runtimeSpec":{`) || strings.Contains(verbose.Info["info"], `"A=1"`) {
		t.Errorf("verbose status %v, %v", verbose, err)
	}

	awaitText(t, filepath.Join(r.logs, "life/web/0.log"))
	r.stop(t, id, 0)
	r.stop(t, id, 0)
	if s := r.status(t, id); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 || s.FinishedAt < s.StartedAt {
		t.Errorf("stopped: %v", s)
	}
	r.remove(t, id)
	r.remove(t, id)
	_, err = r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	refused(t, err, codes.NotFound)
	if text, err := os.ReadFile(filepath.Join(r.logs, "life/web/0.log")); err != nil || !strings.HasSuffix(string(text), " stdout F hello\n") {
		t.Errorf("the log says %q, %v", text, err)
	}
	// One that runs is killed.
	r.remove(t, r.run(t, pod, r.containerConfig("again", "exec sleep 100")))
}

func (r *rig) remove(t *testing.T, id string) {
	t.Helper()
	if _, err := r.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
		t.Error(err)
	}
}

func (r *rig) listed(t *testing.T, f *runtimeapi.ContainerFilter) []string {
	t.Helper()
	out, err := r.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{Filter: f})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range out.Containers {
		ids = append(ids, c.Id)
	}
	return ids
}

// What cannot be is refused, and nothing of it is left.
func containerRefused(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("refused"))
	canary := filepath.Join(r.dir, "canary")
	if err := os.WriteFile(canary, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	logs := filepath.Join(r.logs, "refused")
	for _, dir := range []string{"linked", "file"} {
		if err := os.MkdirAll(filepath.Join(logs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"linked/0.log": canary, "out": r.dir} {
		if err := os.Symlink(to, filepath.Join(logs, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(logs, "file/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	type config = runtimeapi.ContainerConfig
	mount := func(m *runtimeapi.Mount) func(*config) { return func(c *config) { c.Mounts = []*runtimeapi.Mount{m} } }
	for i, tt := range []struct {
		name string
		edit func(*config)
		want codes.Code
	}{
		{"no metadata", func(c *config) { c.Metadata = nil }, codes.InvalidArgument},
		{"no name", func(c *config) { c.Metadata.Name = "" }, codes.InvalidArgument},
		{"name with a path", func(c *config) { c.Metadata.Name = "../x" }, codes.InvalidArgument},
		{"no image", func(c *config) { c.Image = nil }, codes.InvalidArgument},
		{"absent image", func(c *config) { c.Image.Image = "localhost/none:1" }, codes.NotFound},
		{"log outside", func(c *config) { c.LogPath = "../canary" }, codes.InvalidArgument},
		{"absolute log", func(c *config) { c.LogPath = canary }, codes.InvalidArgument},
		{"log is a link", func(c *config) { c.LogPath = "linked/0.log" }, codes.InvalidArgument},
		{"log behind a link", func(c *config) { c.LogPath = "out/canary" }, codes.InvalidArgument},
		{"log is a fifo", func(c *config) { c.LogPath = "file/fifo" }, codes.InvalidArgument},
		{"missing host path", mount(&runtimeapi.Mount{HostPath: "/does/not/exist", ContainerPath: "/x"}), codes.InvalidArgument},
		{"relative host path", mount(&runtimeapi.Mount{HostPath: "etc", ContainerPath: "/x"}), codes.InvalidArgument},
		{"private source shared", mount(&runtimeapi.Mount{HostPath: r.dir, ContainerPath: "/x", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL}), codes.FailedPrecondition},
		{"recursive, not read-only", mount(&runtimeapi.Mount{HostPath: r.dir, ContainerPath: "/x", RecursiveReadOnly: true}), codes.InvalidArgument},
		{"option", mount(&runtimeapi.Mount{HostPath: r.dir, ContainerPath: "/x", MountOptions: []string{"upperdir=/etc"}}), codes.InvalidArgument},
		{"over /proc", mount(&runtimeapi.Mount{HostPath: r.dir, ContainerPath: "/proc/self"}), codes.InvalidArgument},
		{"relative folder", func(c *config) { c.WorkingDir = "etc" }, codes.InvalidArgument},
		{"variable", func(c *config) { c.Envs = []*runtimeapi.KeyValue{{Key: "A=B"}} }, codes.InvalidArgument},
		{"no device", func(c *config) { c.Devices = []*runtimeapi.Device{{HostPath: "/etc/passwd"}} }, codes.InvalidArgument},
		{"score", func(c *config) {
			c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{OomScoreAdj: 2000}}
		}, codes.InvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.containerConfig("bad", "true")
			c.Metadata.Attempt = uint32(i)
			tt.edit(c)
			_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
			refused(t, err, tt.want)
		})
	}
	for _, req := range []*runtimeapi.CreateContainerRequest{{}, {PodSandboxId: pod}} {
		_, err := r.CreateContainer(t.Context(), req)
		refused(t, err, codes.InvalidArgument)
	}
	_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: strings.Repeat("0", 64), Config: r.containerConfig("x", "true")})
	refused(t, err, codes.NotFound)
	if text, err := os.ReadFile(canary); err != nil || string(text) != "untouched" {
		t.Errorf("the canary says %q, %v", text, err)
	}
	if got := r.listed(t, &runtimeapi.ContainerFilter{PodSandboxId: pod}); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	if _, err := os.Lstat(filepath.Join(logs, "bad/0.log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a container that could not be made left its log: %v", err)
	}
	for _, id := range []string{strings.Repeat("0", 64), "nothing", "../../etc", ""} {
		r.stop(t, id, 1)
		r.remove(t, id)
		_, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
		refused(t, err, codes.NotFound)
		_, err = r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id})
		refused(t, err, codes.NotFound)
	}
	// A sandbox that is stopped takes no more, and starts none.
	made := r.create(t, pod, r.containerConfig("made", "true"))
	if _, err := r.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	_, err = r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: r.containerConfig("late", "true")})
	refused(t, err, codes.FailedPrecondition)
	_, err = r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: made})
	refused(t, err, codes.FailedPrecondition)
}

// Whoever asks for the same container gets the same one.
func containerRetries(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("retries"))
	ids := make([]string, 10)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			out, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: r.containerConfig("one", "exec sleep 100")})
			if err != nil {
				t.Error(err)
			}
			ids[i] = out.GetContainerId()
		})
	}
	all.Wait()
	if len(slices.Compact(slices.Clone(ids))) != 1 || ids[0] == "" {
		t.Errorf("one key made %v", ids)
	}
	r.begin(t, ids[0])
	if again := r.create(t, pod, r.containerConfig("one", "true")); again != ids[0] {
		t.Errorf("a retry made %s, not %s", again, ids[0])
	}
	next := r.containerConfig("one", "true")
	next.Metadata.Attempt = 1
	if other := r.create(t, pod, next); other == ids[0] {
		t.Error("the next attempt is the same container")
	}
	if got := r.listed(t, &runtimeapi.ContainerFilter{PodSandboxId: pod}); len(got) != 2 {
		t.Errorf("there are %v", got)
	}
}

// A client that gives up leaves a whole container or none, and its retry finds
// what was made.
func containerGivenUp(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("given-up"))
	for after := time.Millisecond; after < 60*time.Millisecond; after += 7 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		c := r.containerConfig("c", "exec sleep 100")
		first, err := r.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
		cancel()
		id := r.create(t, pod, c)
		if err == nil && first.ContainerId != id {
			t.Errorf("after %s: made %s, then %s", after, first.ContainerId, id)
		}
		if got := r.listed(t, &runtimeapi.ContainerFilter{PodSandboxId: pod}); !slices.Equal(got, []string{id}) {
			t.Errorf("after %s: there are %v", after, got)
		}
		r.remove(t, id)
	}
	// A stop goes on to the kill.
	id := r.run(t, pod, r.containerConfig("deaf", "trap '' TERM; while true; do sleep 0.05; done"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := r.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 1}); err == nil {
		t.Error("a deaf container stopped")
	}
	if s := r.ended(t, id); s.ExitCode != 137 {
		t.Errorf("ended with %v", s)
	}
}

func containerExits(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("exits"))
	for _, tt := range []struct {
		name, script, reason string
		code                 int32
		memory               int64
	}{
		{name: "done", script: "exit 0", reason: "Completed"},
		{name: "failed", script: "exit 3", reason: "Error", code: 3},
		{name: "255", script: "exit 255", reason: "Error", code: 255},
		{name: "memory", script: "dd if=/dev/zero of=/dev/null bs=40M", reason: "OOMKilled", code: 137, memory: 16 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.containerConfig(tt.name, tt.script)
			if tt.memory > 0 {
				c.Command = []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=40M"}
				c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: tt.memory, MemorySwapLimitInBytes: tt.memory}}
			}
			s := r.ended(t, r.run(t, pod, c))
			if s.ExitCode != tt.code || s.Reason != tt.reason || s.FinishedAt < s.StartedAt || s.StartedAt == 0 {
				t.Errorf("ended with %d %s (%s) at %d of %d, want %d %s", s.ExitCode, s.Reason, s.Message, s.FinishedAt, s.StartedAt, tt.code, tt.reason)
			}
		})
	}
	// However fast it is, its code is known.
	for range 15 {
		id := r.run(t, pod, r.containerConfig("fast", "exit 7"))
		if s := r.ended(t, id); s.ExitCode != 7 || s.Reason != "Error" {
			t.Errorf("ended with %d %s %s", s.ExitCode, s.Reason, s.Message)
		}
		r.remove(t, id)
	}
}

// What cannot be started is made, or not; what was made and does not start is
// there to be looked at.
func containerCannotStart(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("cannot"))
	for _, command := range []string{"/no/such/program", "/usr/bin/not-executable"} {
		c := r.containerConfig("missing", "")
		c.Command = []string{command}
		out, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
		if err != nil {
			continue // a runtime that looks before
		}
		if _, err := r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: out.ContainerId}); err == nil {
			t.Errorf("%s was started", command)
		}
		s := r.status(t, out.ContainerId)
		if s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.ExitCode != 128 || s.Reason != "StartError" || s.Message == "" {
			t.Errorf("%s: %v", command, s)
		}
		_, err = r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: out.ContainerId})
		refused(t, err, codes.FailedPrecondition)
		r.remove(t, out.ContainerId)
	}
	// A process that was lost before the start is made again.
	id := r.create(t, pod, r.containerConfig("lost", "exit 5"))
	info, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pidOf(t, info.Info["info"]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if s := r.status(t, id); s.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		t.Errorf("after its process was lost: %v", s)
	}
	r.begin(t, id)
	if s := r.ended(t, id); s.ExitCode != 5 {
		t.Errorf("ended with %v", s)
	}
}

func containerStops(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("stops"))
	c := r.containerConfig("polite", "trap 'exit 9' USR1; while true; do sleep 0.05; done")
	c.StopSignal = runtimeapi.Signal_SIGNAL_SIGUSR1
	id := r.run(t, pod, c)
	time.Sleep(100 * time.Millisecond)
	if took := r.stop(t, id, 10); took > 5*time.Second {
		t.Errorf("a container that ends on its signal took %s", took)
	}
	if s := r.ended(t, id); s.ExitCode != 9 {
		t.Errorf("stopped with %v", s)
	}
	// A later stop with a shorter timeout takes effect.
	id = r.run(t, pod, r.containerConfig("deaf", "trap '' TERM; while true; do sleep 0.05; done"))
	time.Sleep(100 * time.Millisecond)
	first := make(chan time.Duration, 1)
	go func() { first <- r.stop(t, id, 60) }()
	time.Sleep(200 * time.Millisecond)
	if took := r.stop(t, id, 1); took > 5*time.Second {
		t.Errorf("the shorter stop took %s", took)
	}
	if took := <-first; took > 6*time.Second {
		t.Errorf("the longer stop took %s", took)
	}
	if s := r.status(t, id); s.ExitCode != 137 {
		t.Errorf("killed with %v", s)
	}
	_, err := r.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: -1})
	refused(t, err, codes.InvalidArgument)
}

func containerLogs(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("logs"))
	id := r.run(t, pod, r.containerConfig("talk", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done"))
	path := filepath.Join(r.logs, "logs/talk/0.log")
	reopen := func() error {
		_, err := r.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
		return err
	}
	awaitText(t, path)
	if err := reopen(); err != nil { // nothing was renamed: nothing is lost
		t.Error(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); err != nil {
		t.Error(err)
	}
	awaitText(t, path)
	r.stop(t, id, 0)
	old, _ := os.ReadFile(path + ".old")
	now, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSuffix(string(old)+string(now), "\n"), "\n")
	for i, line := range lines {
		if !strings.HasSuffix(line, " stdout F "+itoa(i+1)) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the log is %v, %v", fi, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refused(t, reopen(), codes.FailedPrecondition)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a container that does not run got a log: %v", err)
	}
}

// awaitText waits for a file that is not empty.
func awaitText(t *testing.T, path string) {
	t.Helper()
	for range 200 {
		if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nothing is in %s", path)
}
