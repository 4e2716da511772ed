//go:build rootful

package criadapter_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// recorder is runc, but for what CRIU would do: it writes each verb down, makes
// process images of its own, and starts a container anew where it is to restore
// one. A file fail-VERB or hang-VERB in its folder makes the verb fail, or wait
// for the file to go, for the container that the file names, or for all if it is
// empty.
const recorder = `#!/bin/sh
here=%[1]q
root=
if [ "$1" = --root ]; then root=$2; shift 2; fi
verb=$1; for id; do :; done
echo "$verb $id" >>"$here/verbs"
if [ "$verb" = checkpoint ] && [ -e "$here/hang-checkpoint" ]; then
	touch "$here/hangs"
	while [ -e "$here/hang-checkpoint" ]; do sleep 0.1; done
	exit 1
fi
if [ -e "$here/fail-$verb" ]; then
	who=$(cat "$here/fail-$verb")
	if [ -z "$who" ] || [ "$who" = "$id" ]; then echo "no $verb today" >&2; exit 1; fi
fi
case $verb in
checkpoint)
	while [ $# -gt 0 ]; do [ "$1" = --image-path ] && images=$2; [ "$1" = --work-path ] && work=$2; shift; done
	echo "$id" >"$images/pages-1.img"; echo log >"$work/dump.log"
	;;
restore)
	echo "$@" >"$here/restore.args"
	while [ $# -gt 0 ]; do [ "$1" = --bundle ] && bundle=$2; [ "$1" = --pid-file ] && pid=$2; [ "$1" = --image-path ] && images=$2; shift; done
	cp "$images/pages-1.img" "$here/restored-$id"
	runc --root "$root" create --bundle "$bundle" --pid-file "$pid" "$id" && runc --root "$root" start "$id"
	;;
*) exec runc --root "$root" "$@" ;;
esac
`

// recorded is a server whose containers run by the recorder.
type recorded struct {
	runtimeapi.RuntimeServiceClient
	server      *harness.CRIServer
	conn        *grpc.ClientConn
	davit       harness.Davit
	here, image string
}

func newRecorded(t *testing.T) *recorded {
	t.Helper()
	return newRuntime(t, "")
}

// newRuntime is a server with a runtime of that name, or with the recorder.
func newRuntime(t *testing.T, runtime string) *recorded {
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
	r := &recorded{davit: d, here: t.TempDir(), image: registry.Ref("busybox:1")}
	path := filepath.Join(r.here, "recorder")
	if err == nil {
		err = harness.WriteExecutable(path, fmt.Sprintf(recorder, r.here))
	}
	if err == nil {
		err = d.Roots.Configure(fmt.Sprintf("[engine]\nruntime = %q\n[runtimes.other]\npath = \"/usr/sbin/runc\"\n", cmp.Or(runtime, path)))
	}
	if err == nil {
		_, err = d.Run(t.Context(), "pull", "-q", r.image)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.removeAll(t)
		if err := errors.Join(r.conn.Close(), r.server.Stop()); err != nil {
			t.Error(err)
		}
	})
	r.serve(t)
	return r
}

// serve starts a server and connects to it.
func (r *recorded) serve(t *testing.T) {
	t.Helper()
	var err error
	if r.server, err = harness.StartCRI(t.Context(), r.davit, filepath.Join(r.davit.Roots.Dir, "server.log")); err != nil {
		t.Fatal(err)
	}
	r.conn, err = grpc.NewClient("unix://"+r.server.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r.RuntimeServiceClient = runtimeapi.NewRuntimeServiceClient(r.conn)
}

func (r *recorded) removeAll(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	all, err := r.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		t.Error(err)
	}
	for _, s := range all.GetItems() {
		if _, err := r.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.Id}); err != nil {
			t.Error(err)
		}
	}
}

// pod makes a pod with containers that run, and returns their IDs.
func (r *recorded) pod(t *testing.T, name string, containers ...string) (string, []string) {
	t.Helper()
	made, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: sandboxOf(name)})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range containers {
		k, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{
			PodSandboxId: made.PodSandboxId, Config: r.container(c), SandboxConfig: sandboxOf(name),
		})
		if err != nil {
			t.Fatal(err)
		}
		r.start(t, k.ContainerId)
		ids = append(ids, k.ContainerId)
	}
	r.verbs(t)
	return made.PodSandboxId, ids
}

func (r *recorded) start(t *testing.T, id string) {
	t.Helper()
	if _, err := r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
}

func sandboxOf(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: "u"},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

func (r *recorded) container(name string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: r.image},
		Command: []string{"sh", "-c", "[ -e /state ] || echo fresh $$ >/state; sleep 1000"}, Labels: map[string]string{"name": name},
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

// verbs are what the recorder was asked for since the last call.
func (r *recorded) verbs(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(r.here, "verbs")
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	var out []string
	for line := range strings.Lines(string(data)) {
		verb, _, _ := strings.Cut(line, " ")
		out = append(out, verb)
	}
	return out
}

func (r *recorded) fault(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.here, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *recorded) heal(names ...string) {
	for _, name := range names {
		_ = os.Remove(filepath.Join(r.here, name))
	}
}

// goOn checks that containers run and that their processes are not frozen.
func (r *recorded) goOn(t *testing.T, ids []string) {
	t.Helper()
	for _, id := range ids {
		s, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
		if err != nil || s.Status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("container %.12s: %v, %v", id, s, err)
		}
		out, err := r.davit.Run(t.Context(), "inspect", "--format", "{{.State.Status}}", id)
		if err != nil || out.Line() != "running" {
			t.Errorf("container %.12s is %q, %v", id, out.Stdout, err)
		}
		frozen, err := filepath.Glob("/sys/fs/cgroup/freezer/*/*/" + id + "/freezer.state")
		if err != nil || len(frozen) != 1 {
			continue // version 2
		}
		if state, err := os.ReadFile(frozen[0]); err == nil && string(state) != "THAWED\n" {
			t.Errorf("the cgroup of container %.12s is %s", id, state)
		}
	}
}

func (r *recorded) checkpoint(ctx context.Context, id, dir string, ids []string) error {
	_, err := r.CheckpointPod(ctx, &runtimeapi.CheckpointPodRequest{PodSandboxId: id, OutputPath: dir, ContainerIds: ids})
	return err
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func isEmpty(t *testing.T, what, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%s: left in the folder: %v, %v", what, entries, err)
	}
}

// What a checkpoint of a pod cannot be made of is refused before anything is
// done.
func (r *recorded) refusedCheckpoints(t *testing.T, id string, ids []string) {
	t.Helper()
	dir := t.TempDir()
	other := strings.Repeat("a", 64)
	tests := []struct {
		name    string
		ctx     context.Context
		id, dir string
		ids     []string
		options map[string]string
		want    codes.Code
	}{
		{"no deadline", t.Context(), id, dir, ids, nil, codes.InvalidArgument},
		{"no containers", within(t, time.Minute), id, dir, nil, nil, codes.InvalidArgument},
		{"one twice", within(t, time.Minute), id, dir, []string{ids[0], ids[0]}, nil, codes.InvalidArgument},
		{"one of them", within(t, time.Minute), id, dir, ids[:1], nil, codes.FailedPrecondition},
		{"another one", within(t, time.Minute), id, dir, append([]string{other}, ids...), nil, codes.FailedPrecondition},
		{"no pod", within(t, time.Minute), other, dir, ids, nil, codes.NotFound},
		{"no folder", within(t, time.Minute), id, dir + "/none", ids, nil, codes.InvalidArgument},
		{"a relative folder", within(t, time.Minute), id, "x", ids, nil, codes.InvalidArgument},
		{"a folder that is not empty", within(t, time.Minute), id, r.here, ids, nil, codes.FailedPrecondition},
		{"an option", within(t, time.Minute), id, dir, ids, map[string]string{"x": "y"}, codes.InvalidArgument},
	}
	for _, tt := range tests {
		_, err := r.CheckpointPod(tt.ctx, &runtimeapi.CheckpointPodRequest{PodSandboxId: tt.id, OutputPath: tt.dir, ContainerIds: tt.ids, Options: tt.options})
		if status.Code(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if got := r.verbs(t); len(got) > 0 {
		t.Errorf("the runtime was asked for %q by what was refused", got)
	}
	isEmpty(t, "refused", dir)
}

// All containers of a pod stand still before the first is dumped and until the
// last is, and go on whatever happens; what is not whole is not there.
func TestCheckpointPod(t *testing.T) {
	r := newRecorded(t)
	id, ids := r.pod(t, "shop", "web", "db")
	r.refusedCheckpoints(t, id, ids)
	dir := t.TempDir()
	for _, fault := range []struct {
		name, file, who string
		within          time.Duration
	}{
		{"the second dump fails", "fail-checkpoint", ids[1], time.Minute},
		{"a pause fails", "fail-pause", ids[1], time.Minute},
		{"the deadline", "hang-checkpoint", "", 1500 * time.Millisecond},
	} {
		r.fault(t, fault.file, fault.who)
		err := r.checkpoint(within(t, fault.within), id, dir, ids)
		if err == nil {
			t.Errorf("%s: no error", fault.name)
		}
		r.heal(fault.file)
		if fault.file == "hang-checkpoint" { // the client's deadline is the server's: its answer is not waited for
			r.settled(t, id)
		}
		r.goOn(t, ids)
		isEmpty(t, fault.name, dir)
	}
	// A runtime that does not resume is helped by the cgroup.
	r.fault(t, "fail-resume", ids[0])
	if err := r.checkpoint(within(t, time.Minute), id, dir, ids); err != nil {
		t.Errorf("a resume fails: %v", err)
	}
	r.heal("fail-resume")
	r.goOn(t, ids)

	// A crash of the server: whoever sweeps next thaws, and removes what there is.
	crash := t.TempDir()
	r.fault(t, "hang-checkpoint", "")
	r.heal("hangs")
	failed := make(chan error, 1)
	go func() { failed <- r.checkpoint(within(t, time.Minute), id, crash, ids) }()
	await(t, "the dump", func() bool {
		_, err := os.Stat(filepath.Join(r.here, "hangs"))
		return err == nil
	})
	if err := r.server.Kill(); err != nil {
		t.Fatal(err)
	}
	<-failed
	_ = r.conn.Close()
	r.heal("hang-checkpoint")
	r.serve(t)
	r.settled(t, id)
	r.goOn(t, ids)
	isEmpty(t, "a crash", crash)

	r.verbs(t)
	last := t.TempDir()
	if err := r.checkpoint(within(t, time.Minute), id, last, ids); err != nil {
		t.Fatal(err)
	}
	if got, want := r.verbs(t), []string{"pause", "pause", "checkpoint", "checkpoint", "resume", "resume"}; !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
	r.goOn(t, ids)
	r.refusedRestores(t, last)
	r.restored(t, last)
}

// settled waits until nobody is at work on a pod and its containers.
func (r *recorded) settled(t *testing.T, id string) {
	t.Helper()
	await(t, "the pod to be settled", func() bool {
		files, _ := filepath.Glob(filepath.Join(r.davit.Roots.RunRoot, "*", "*", "op"))
		return !slices.ContainsFunc(files, func(path string) bool {
			fi, err := os.Stat(path)
			return err == nil && fi.Size() > 0
		})
	})
}

func (r *recorded) restoreRequest(dir, name string) *runtimeapi.RestorePodRequest {
	return &runtimeapi.RestorePodRequest{
		CheckpointPath: dir, Config: sandboxOf(name), ContainerConfigs: []*runtimeapi.ContainerConfig{r.container("web"), r.container("db")},
	}
}

func (r *recorded) refusedRestores(t *testing.T, dir string) {
	t.Helper()
	evil := t.TempDir()
	if out, err := exec.Command("cp", "-a", dir+"/.", evil).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	images, err := filepath.Glob(filepath.Join(evil, "containers", "*", "checkpoint"))
	if err != nil || len(images) != 2 {
		t.Fatalf("%v, %v", images, err)
	}
	for _, dir := range images {
		if err := os.Symlink("/etc/passwd", filepath.Join(dir, "core-1.img")); err != nil {
			t.Fatal(err)
		}
	}
	fifo := t.TempDir() // whoever opened it would wait for a writer
	if err := errors.Join(unix.Mkfifo(filepath.Join(fifo, "checkpoint.json"), 0o600), unix.Mkfifo(filepath.Join(fifo, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	linked := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "checkpoint.json"), filepath.Join(linked, "checkpoint.json")); err != nil {
		t.Fatal(err)
	}
	security := func(s *runtimeapi.LinuxContainerSecurityContext) func(*runtimeapi.RestorePodRequest) {
		return func(q *runtimeapi.RestorePodRequest) {
			q.ContainerConfigs[1].Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: s}
		}
	}
	tests := []struct {
		name   string
		change func(*runtimeapi.RestorePodRequest)
		want   codes.Code
	}{
		{"no checkpoint", func(q *runtimeapi.RestorePodRequest) { q.CheckpointPath = r.here }, codes.InvalidArgument},
		{"no folder", func(q *runtimeapi.RestorePodRequest) { q.CheckpointPath = dir + "/none" }, codes.InvalidArgument},
		{"links among the images", func(q *runtimeapi.RestorePodRequest) { q.CheckpointPath = evil }, codes.InvalidArgument},
		{"a fifo", func(q *runtimeapi.RestorePodRequest) { q.CheckpointPath = fifo }, codes.InvalidArgument},
		{"a fifo for a folder", func(q *runtimeapi.RestorePodRequest) { q.CheckpointPath = fifo + "/fifo" }, codes.InvalidArgument},
		{"a link out", func(q *runtimeapi.RestorePodRequest) { q.CheckpointPath = linked }, codes.InvalidArgument},
		{"more than the sandbox is made for", security(&runtimeapi.LinuxContainerSecurityContext{Privileged: true}), codes.InvalidArgument},
		{"the host's IPC", security(&runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE},
		}), codes.InvalidArgument},
		{"no containers", func(q *runtimeapi.RestorePodRequest) { q.ContainerConfigs = nil }, codes.InvalidArgument},
		{"one is missing", func(q *runtimeapi.RestorePodRequest) { q.ContainerConfigs = q.ContainerConfigs[:1] }, codes.FailedPrecondition},
		{"one too many", func(q *runtimeapi.RestorePodRequest) {
			q.ContainerConfigs = append(q.ContainerConfigs, r.container("x"))
		}, codes.FailedPrecondition},
		{"one twice", func(q *runtimeapi.RestorePodRequest) {
			q.ContainerConfigs = append(q.ContainerConfigs, r.container("db"))
		}, codes.InvalidArgument},
		{"one without a name", func(q *runtimeapi.RestorePodRequest) { q.ContainerConfigs[0].Metadata.Name = "" }, codes.InvalidArgument},
		{"another command", func(q *runtimeapi.RestorePodRequest) { q.ContainerConfigs[1].Command = []string{"sleep", "5"} }, codes.FailedPrecondition},
		{"another environment", func(q *runtimeapi.RestorePodRequest) {
			q.ContainerConfigs[1].Envs = []*runtimeapi.KeyValue{{Key: "a", Value: []byte("b")}}
		}, codes.FailedPrecondition},
		{"an option", func(q *runtimeapi.RestorePodRequest) { q.Options = map[string]string{"x": "y"} }, codes.InvalidArgument},
		{"a handler that is not there", func(q *runtimeapi.RestorePodRequest) { q.RuntimeHandler = "none" }, codes.InvalidArgument},
		{"another runtime", func(q *runtimeapi.RestorePodRequest) { q.RuntimeHandler = "other" }, codes.FailedPrecondition},
		{"no sandbox", func(q *runtimeapi.RestorePodRequest) { q.Config = nil }, codes.InvalidArgument},
		{"a sandbox that is there", func(q *runtimeapi.RestorePodRequest) { q.Config = sandboxOf("shop") }, codes.AlreadyExists},
	}
	for _, tt := range tests {
		q := r.restoreRequest(dir, "again")
		tt.change(q)
		if _, err := r.RestorePod(within(t, 20*time.Second), q); status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := r.RestorePod(t.Context(), r.restoreRequest(dir, "again")); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no deadline: %v", err)
	}
	pods, err := r.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil || len(pods.Items) != 1 {
		t.Errorf("after what was refused: %v, %v", pods, err)
	}
	all, err := r.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{})
	if err != nil || len(all.Containers) != 2 {
		t.Errorf("after what was refused: %v, %v", all, err)
	}
}

// restored makes a second pod of a checkpoint of the first.
func (r *recorded) restored(t *testing.T, dir string) {
	t.Helper()
	before := filesOf(t, dir)
	r.verbs(t)
	made, err := r.RestorePod(within(t, time.Minute), r.restoreRequest(dir, "again"))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.verbs(t); len(got) > 0 {
		t.Errorf("restoring asked the runtime for %q before a start", got)
	}
	if len(made.RestoredContainers) != 2 || made.RestoredContainers[0].Name != "web" || made.RestoredContainers[1].Name != "db" {
		t.Fatalf("got %v", made)
	}
	s, err := r.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: made.PodSandboxId})
	if err != nil || s.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY || s.Status.Metadata.Name != "again" {
		t.Errorf("sandbox %v, %v", s, err)
	}
	for _, k := range made.RestoredContainers {
		s, err := r.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: k.ContainerId})
		if err != nil || s.Status.State != runtimeapi.ContainerState_CONTAINER_CREATED || s.Status.Metadata.Name != k.Name || s.Status.Labels["name"] != k.Name {
			t.Errorf("container %v, %v", s, err)
		}
	}
	if after := filesOf(t, dir); !slices.Equal(before, after) {
		t.Errorf("the checkpoint was changed:\n%q\n%q", before, after)
	}
	if err := os.RemoveAll(filepath.Join(dir, "containers")); err != nil { // it may go before the start
		t.Fatal(err)
	}
	for _, k := range made.RestoredContainers {
		id := k.ContainerId
		r.start(t, id)
		if images, err := os.ReadFile(filepath.Join(r.here, "restored-"+id)); err != nil || len(images) < 64 {
			t.Errorf("%s was restored of %q, %v", k.Name, images, err)
		}
		out, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"cat", "/state"}, Timeout: 10})
		if err != nil || !strings.HasPrefix(string(out.GetStdout()), "fresh") {
			t.Errorf("the root filesystem of %s has %v, %v", k.Name, out, err)
		}
		if _, err := os.Stat(filepath.Join(r.davit.Roots.Root, "containers", id, "checkpoint")); !os.IsNotExist(err) {
			t.Errorf("the copied images are left: %v", err)
		}
		if _, err := r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("started twice: %v", err)
		}
	}
	if got, want := r.verbs(t), []string{"restore", "restore"}; !slices.Equal(slices.DeleteFunc(got, func(v string) bool { return v == "--log" }), want) {
		t.Errorf("the starts asked the runtime for %q", got) // an exec begins with --log
	}
	if args, _ := os.ReadFile(filepath.Join(r.here, "restore.args")); !strings.Contains(string(args), "--tcp-established") {
		t.Errorf("restored with %q", args)
	}
}

// filesOf lists a folder's files with their contents and times.
func filesOf(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		out = append(out, fmt.Sprint(path, fi.Mode(), fi.ModTime(), len(data), string(data[:min(len(data), 100)])))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A checkpoint of one container is an archive that is there whole or not at all,
// and the container goes on.
func TestCheckpointContainer(t *testing.T) {
	r := newRecorded(t)
	_, ids := r.pod(t, "shop", "web")
	dir := t.TempDir()
	location := filepath.Join(dir, "web.tar")
	checkpoint := func(id, location string, seconds int64) error {
		_, err := r.CheckpointContainer(t.Context(), &runtimeapi.CheckpointContainerRequest{ContainerId: id, Location: location, Timeout: seconds})
		return err
	}
	for name, bad := range map[string]string{"relative": "web.tar", "no folder": dir + "/none/web.tar", "a folder": dir, "not plain": dir + "/../x.tar"} {
		if err := checkpoint(ids[0], bad, 0); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkpoint(strings.Repeat("a", 64), location, 0); status.Code(err) != codes.NotFound {
		t.Errorf("absent: %v", err)
	}
	for file, seconds := range map[string]int64{"fail-checkpoint": 0, "fail-pause": 0, "hang-checkpoint": 1} {
		r.fault(t, file, "")
		began := time.Now()
		if err := checkpoint(ids[0], location, seconds); err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %v after %s", file, err, time.Since(began))
		}
		r.heal(file)
		r.goOn(t, ids)
		isEmpty(t, file, dir)
	}
	if err := checkpoint(ids[0], location, 60); err != nil {
		t.Fatal(err)
	}
	r.goOn(t, ids)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("beside the archive: %v, %v", entries, err)
	}
	if fi, err := os.Stat(location); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the archive: %v, %v", fi, err)
	}
	into := t.TempDir()
	tarOf(t, "-C", into, "-xf", location)
	var dump struct {
		ID, Name, RootfsImageName, Runtime string
		CreatedTime                        time.Time
	}
	text, err := os.ReadFile(filepath.Join(into, "config.dump"))
	if err == nil {
		err = json.Unmarshal(text, &dump)
	}
	if err != nil || dump.ID != ids[0] || dump.Name != "web" || dump.RootfsImageName == "" || dump.Runtime == "" || dump.CreatedTime.IsZero() {
		t.Errorf("config.dump: %+v, %v", dump, err)
	}
	for _, name := range []string{"spec.dump", "checkpoint/pages-1.img", "rootfs-diff.tar", "dump.log"} {
		if fi, err := os.Stat(filepath.Join(into, name)); err != nil || fi.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := tarOf(t, "-tf", filepath.Join(into, "rootfs-diff.tar")); !strings.Contains(got, "state") {
		t.Errorf("what it wrote: %q", got)
	}
}

func tarOf(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("tar %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// A process that is restored goes on where it was dumped, where CRIU works: that
// of Debian 12 does not on newer kernels. The tests above do without it.
func TestCheckpointByCRIU(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "criu", "check").CombinedOutput(); err != nil {
		t.Skipf("criu check: %v: %s", err, out)
	}
	r := newRuntime(t, "runc")
	counter := r.container("counter")
	counter.Command = []string{"sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/count.new; mv /count.new /count; sleep 0.1; done"}
	count := func(id string) int {
		out, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"cat", "/count"}, Timeout: 10})
		if err != nil {
			return 0
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(out.Stdout))) // not written yet
		return n
	}
	id, _ := r.pod(t, "first")
	k, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: id, Config: counter, SandboxConfig: sandboxOf("first")})
	if err != nil {
		t.Fatal(err)
	}
	r.start(t, k.ContainerId)
	await(t, "the counter", func() bool { return count(k.ContainerId) > 20 })
	dir := t.TempDir()
	if err := r.checkpoint(within(t, time.Minute), id, dir, []string{k.ContainerId}); err != nil {
		t.Fatal(err)
	}
	await(t, "the counter to go on", func() bool { return count(k.ContainerId) > 30 })
	q := r.restoreRequest(dir, "second")
	q.ContainerConfigs = []*runtimeapi.ContainerConfig{counter}
	made, err := r.RestorePod(within(t, time.Minute), q)
	if err != nil {
		t.Fatal(err)
	}
	again := made.RestoredContainers[0].ContainerId
	r.start(t, again)
	first := 0
	await(t, "the restored counter", func() bool { first = count(again); return first > 0 })
	if first < 20 {
		t.Errorf("the restored counter is at %d: it began anew", first)
	}
	await(t, "the restored counter to go on", func() bool { return count(again) > first+5 })
}
