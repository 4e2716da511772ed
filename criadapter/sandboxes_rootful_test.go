//go:build rootful

package criadapter_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// node is a server on roots of its own, with a pod network whose first plugin
// does what files in its folder say.
type node struct {
	*testing.T
	davit   harness.Davit
	server  *harness.CRIServer
	runtime runtimeapi.RuntimeServiceClient
	plugins string
	conns   []*grpc.ClientConn
}

const realPlugins = "/usr/lib/cni"

// bridge is what the network's first plugin is: "hang-ADD" and the like make a
// command never end, "fail-DEL" and the like have it fail.
const bridge = `#!/bin/sh
echo $CNI_COMMAND >> %[1]s/calls
if [ -e %[1]s/hang-$CNI_COMMAND ]; then exec sleep 1000; fi
if [ -e %[1]s/slow-$CNI_COMMAND ]; then sleep 1; fi
if [ -e %[1]s/fail-$CNI_COMMAND ]; then echo '{"cniVersion":"1.0.0","code":99,"msg":"as the test wants it"}'; exit 1; fi
exec %[2]s/bridge
`

func newNode(t *testing.T, subnet int) *node {
	t.Helper()
	n := &node{T: t, davit: harness.TestDavit(t), plugins: t.TempDir()}
	n.must(n.davit.Roots.AddPodNetwork(subnet))
	n.must(n.davit.Roots.Configure(fmt.Sprintf("plugin_dirs = [%q, %q]\n", n.plugins, realPlugins)))
	n.must(harness.WriteExecutable(filepath.Join(n.plugins, "bridge"), fmt.Sprintf(bridge, n.plugins, realPlugins)))
	t.Cleanup(n.end)
	n.start()
	return n
}

func (n *node) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

// start starts the server, or the next one.
func (n *node) start() {
	n.Helper()
	var err error
	n.server, err = harness.StartCRI(n.Context(), n.davit, filepath.Join(n.davit.Roots.Dir, "server.log"))
	n.must(err)
	conn, err := grpc.NewClient("unix://"+n.server.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	n.must(err)
	n.conns = append(n.conns, conn)
	n.runtime = runtimeapi.NewRuntimeServiceClient(conn)
}

// end removes all sandboxes and stops the server.
func (n *node) end() {
	ctx := context.WithoutCancel(n.Context())
	for _, kind := range []string{"hang", "fail", "slow"} {
		n.clear(kind+"-ADD", kind+"-DEL")
	}
	if list, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{}); err == nil {
		for _, s := range list.Items {
			if _, err := n.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.Id}); err != nil {
				n.Error(err)
			}
		}
	}
	for _, conn := range n.conns {
		_ = conn.Close()
	}
	if err := n.server.Stop(); err != nil {
		n.Error(err)
	}
	if leases := n.davit.Roots.Leases(); len(leases) > 0 {
		n.Errorf("address leases are left: %v", leases)
	}
	if n.Failed() {
		text, _ := os.ReadFile(n.server.LogAt)
		n.Logf("the server's log:\n%s", text)
	}
}

// tell makes the plugin do what a file's name says, clear ends it.
func (n *node) tell(names ...string) {
	n.Helper()
	for _, name := range names {
		n.must(os.WriteFile(filepath.Join(n.plugins, name), nil, 0o600))
	}
}

func (n *node) clear(names ...string) {
	for _, name := range names {
		_ = os.Remove(filepath.Join(n.plugins, name))
	}
}

// called waits until the plugin was called with a command.
func (n *node) called(command string) {
	n.Helper()
	await(n.T, "a call of the plugin", func() bool {
		calls, _ := os.ReadFile(filepath.Join(n.plugins, "calls"))
		return strings.Contains(string(calls), command)
	})
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func sandboxRequest(name string) *runtimeapi.RunPodSandboxRequest {
	return &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name, Attempt: 1},
		Hostname: name, Labels: map[string]string{"app": name, "all": "yes"}, Annotations: map[string]string{"example.org/a": " b "},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}}
}

func (n *node) run(name string) string {
	n.Helper()
	r, err := n.runtime.RunPodSandbox(n.Context(), sandboxRequest(name))
	n.must(err)
	return r.PodSandboxId
}

func (n *node) status(id string) *runtimeapi.PodSandboxStatus {
	n.Helper()
	r, err := n.runtime.PodSandboxStatus(n.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	n.must(err)
	return r.Status
}

// list is the IDs of the sandboxes that a filter shows.
func (n *node) list(f *runtimeapi.PodSandboxFilter) []string {
	n.Helper()
	r, err := n.runtime.ListPodSandbox(n.Context(), &runtimeapi.ListPodSandboxRequest{Filter: f})
	n.must(err)
	var ids []string
	for _, s := range r.Items {
		ids = append(ids, s.Id)
	}
	return ids
}

// one says that there is one sandbox, of that ID, with one address.
func (n *node) one(id string) {
	n.Helper()
	if got := n.list(nil); !slices.Equal(got, []string{id}) {
		n.Errorf("sandboxes %v, want %s alone", got, id)
	}
	leases := n.davit.Roots.Leases()
	if len(leases) != 1 || filepath.Base(leases[0]) != n.status(id).Network.Ip {
		n.Errorf("leases %v, status says %v", leases, n.status(id).Network)
	}
}

func (n *node) stop(id string) error {
	_, err := n.runtime.StopPodSandbox(n.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return err
}

func (n *node) remove(id string) error {
	_, err := n.runtime.RemovePodSandbox(n.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
	return err
}

func (n *node) wantCode(err error, want codes.Code) {
	n.Helper()
	if status.Code(err) != want {
		n.Errorf("error %v, want %s", err, want)
	}
}

func ready(is bool) *runtimeapi.PodSandboxStateValue {
	if is {
		return &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}
	}
	return &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY}
}

// TestSandboxCallsJoin: ten calls of one key are one sandbox; so is one that comes
// when that is done, or when it was stopped.
func TestSandboxCallsJoin(t *testing.T) {
	n := newNode(t, 101)
	n.tell("slow-ADD")
	ids := make([]string, 10)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			if r, err := n.runtime.RunPodSandbox(t.Context(), sandboxRequest("a")); err != nil {
				t.Error(err)
			} else {
				ids[i] = r.PodSandboxId
			}
		})
	}
	n.called("ADD")
	if got := n.list(nil); len(got) != 0 {
		t.Errorf("what is being made is listed: %v", got)
	}
	wg.Wait()
	n.clear("slow-ADD")
	if slices.Sort(ids); ids[0] != ids[9] || ids[0] == "" {
		t.Fatalf("IDs %q", ids)
	}
	id := ids[0]
	n.one(id)
	if again := n.run("a"); again != id {
		t.Errorf("another call gave %s, want %s", again, id)
	}
	for range 2 {
		n.must(n.stop(id))
	}
	if s := n.status(id); s.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY || len(n.davit.Roots.Leases()) != 0 {
		t.Errorf("stopped: %v, leases %v", s.State, n.davit.Roots.Leases())
	}
	if again := n.run("a"); again != id {
		t.Errorf("made ready again: %s, want %s", again, id)
	}
	n.one(id)
	for range 2 {
		n.must(n.remove(id))
	}
	_, err := n.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	n.wantCode(err, codes.NotFound)
}

// TestSandboxLists: filters, the stream, what is told of a sandbox, and what a
// kubelet is not to see.
func TestSandboxLists(t *testing.T) {
	n := newNode(t, 102)
	a, b := n.run("a"), n.run("b")
	n.must(n.stop(b))
	made, err := n.davit.Run(t.Context(), "pod", "create", "--name", "mine")
	n.must(err)
	defer func() { _, _ = n.davit.Run(context.WithoutCancel(t.Context()), "pod", "rm", "mine") }()
	for _, tt := range []struct {
		name   string
		filter *runtimeapi.PodSandboxFilter
		want   []string
	}{
		{"all", nil, []string{a, b}},
		{"by ID", &runtimeapi.PodSandboxFilter{Id: a}, []string{a}},
		{"by prefix", &runtimeapi.PodSandboxFilter{Id: b[:12]}, []string{b}},
		{"unknown", &runtimeapi.PodSandboxFilter{Id: "nothing"}, nil},
		{"the command line's", &runtimeapi.PodSandboxFilter{Id: made.Line()}, nil},
		{"ready", &runtimeapi.PodSandboxFilter{State: ready(true)}, []string{a}},
		{"not ready", &runtimeapi.PodSandboxFilter{State: ready(false)}, []string{b}},
		{"by labels", &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "a", "all": "yes"}}, []string{a}},
		{"by both", &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"all": "yes"}, State: ready(false)}, []string{b}},
		{"no such label", &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "c"}}, nil},
	} {
		if got := n.list(tt.filter); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	stream, err := n.runtime.StreamPodSandboxes(t.Context(), &runtimeapi.StreamPodSandboxesRequest{})
	n.must(err)
	var streamed []string
	for r, err := stream.Recv(); err == nil; r, err = stream.Recv() {
		for _, s := range r.PodSandboxes {
			streamed = append(streamed, s.Id)
		}
	}
	if !slices.Equal(streamed, []string{a, b}) {
		t.Errorf("streamed %v", streamed)
	}
	r, err := n.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: a, Verbose: true})
	n.must(err)
	s := r.Status
	if s.CreatedAt <= 0 || r.Timestamp <= 0 || s.Annotations["example.org/a"] != " b " || len(s.Annotations) != 1 || len(s.Labels) != 2 ||
		s.Metadata.Attempt != 1 || !strings.Contains(r.Info["info"], "netNamespacePath") {
		t.Errorf("status %v", r)
	}
	for _, id := range []string{"nothing", strings.Repeat("0", 64), made.Line()} {
		_, err := n.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
		n.wantCode(err, codes.NotFound)
		n.must(n.stop(id))
		n.must(n.remove(id))
	}
	ps, err := n.davit.Run(t.Context(), "pod", "ps", "-q", "--no-trunc")
	n.must(err)
	if !strings.Contains(ps.Stdout, a) || !strings.Contains(ps.Stdout, made.Line()) {
		t.Errorf("pod ps shows %q", ps.Stdout)
	}
}

// TestSandboxClientGoes: what is left of a call that was given up is whole, and
// the retry's.
func TestSandboxClientGoes(t *testing.T) {
	n := newNode(t, 103)
	n.tell("slow-ADD")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := n.runtime.RunPodSandbox(ctx, sandboxRequest("a"))
	n.wantCode(err, codes.DeadlineExceeded)
	await(n.T, "the sandbox to be listed", func() bool { return len(n.list(nil)) == 1 })
	id := n.list(&runtimeapi.PodSandboxFilter{State: ready(true)})
	if len(id) != 1 || n.run("a") != id[0] {
		t.Fatalf("ready are %v", id)
	}
	n.one(id[0])
}

// TestServerKilledWhileAdding: the next server undoes it, and the retry of the
// same call gives one sandbox with one address.
func TestServerKilledWhileAdding(t *testing.T) {
	n := newNode(t, 104)
	n.tell("hang-ADD")
	go func() { _, _ = n.runtime.RunPodSandbox(t.Context(), sandboxRequest("a")) }()
	n.called("ADD")
	n.must(n.server.Kill())
	n.clear("hang-ADD")
	n.start()
	id := n.run("a")
	n.one(id)
	if made, _ := filepath.Glob(filepath.Join(n.davit.Roots.RunRoot, "pods", "*")); len(made) != 1 {
		t.Errorf("run folders %v", made)
	}
}

// TestF18StopCancelsAdd: a stop does not wait for a plugin that hangs.
func TestF18StopCancelsAdd(t *testing.T) {
	n := newNode(t, 105)
	n.tell("hang-ADD")
	ended := make(chan error, 1)
	go func() {
		_, err := n.runtime.RunPodSandbox(t.Context(), sandboxRequest("a"))
		ended <- err
	}()
	n.called("ADD")
	made, _ := filepath.Glob(filepath.Join(n.davit.Roots.RunRoot, "pods", "*"))
	if len(made) != 1 {
		t.Fatalf("run folders %v", made)
	}
	began := time.Now()
	n.must(n.stop(filepath.Base(made[0])))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	n.wantCode(<-ended, codes.FailedPrecondition)
	if got, leases := n.list(nil), n.davit.Roots.Leases(); len(got)+len(leases) != 0 {
		t.Errorf("left: sandboxes %v, leases %v", got, leases)
	}
}

// TestF20TeardownFails: a sandbox whose network cannot be given back is not ready,
// stays, and frees its address once that works; so does one that could not be
// made.
func TestF20TeardownFails(t *testing.T) {
	n := newNode(t, 106)
	id := n.run("a")
	n.tell("fail-DEL")
	for range 2 {
		if err := n.stop(id); err == nil {
			t.Error("a stop whose DEL fails succeeded")
		}
		if s := n.status(id); s.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
			t.Errorf("after the stop it is %s", s.State)
		}
	}
	if err := n.remove(id); err == nil || len(n.list(nil)) != 1 {
		t.Errorf("removed: %v, listed %v", err, n.list(nil))
	}
	n.tell("fail-ADD")
	if _, err := n.runtime.RunPodSandbox(t.Context(), sandboxRequest("b")); err == nil {
		t.Error("a sandbox without a network was made")
	}
	if got := n.list(&runtimeapi.PodSandboxFilter{State: ready(false)}); len(got) != 2 {
		t.Errorf("not ready are %v, want both", got)
	}
	n.clear("fail-ADD", "fail-DEL")
	n.must(n.stop(id))
	if leases := n.davit.Roots.Leases(); len(leases) != 0 {
		t.Errorf("leases %v", leases)
	}
	n.must(n.remove(id))
	b := n.run("b")
	n.one(b)
}

// TestSandboxIsRefused: what cannot be is refused before anything is made.
func TestSandboxIsRefused(t *testing.T) {
	n := newNode(t, 107)
	for name, change := range map[string]func(*runtimeapi.RunPodSandboxRequest){
		"no configuration":  func(r *runtimeapi.RunPodSandboxRequest) { r.Config = nil },
		"no metadata":       func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Metadata = nil },
		"no name":           func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Metadata.Name = "" },
		"a path":            func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Metadata.Uid = "../../etc" },
		"a long name":       func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Metadata.Name = strings.Repeat("a", 300) },
		"another direction": func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Metadata.Name = "a\u202eb" },
		"an argument":       func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Metadata.Name = "a;IP=10.0.0.1" },
		"a line":            func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Hostname = "a\nb" },
		"a log folder":      func(r *runtimeapi.RunPodSandboxRequest) { r.Config.LogDirectory = "/var/log/../../etc" },
		"a cgroup":          func(r *runtimeapi.RunPodSandboxRequest) { r.Config.Linux.CgroupParent = "/a/../../b" },
		"a sysctl": func(r *runtimeapi.RunPodSandboxRequest) {
			r.Config.Linux.Sysctls = map[string]string{"vm.swappiness": "1"}
		},
		"a port": func(r *runtimeapi.RunPodSandboxRequest) {
			r.Config.PortMappings = []*runtimeapi.PortMapping{{HostPort: 70000, ContainerPort: 1}}
		},
		"a group alone": func(r *runtimeapi.RunPodSandboxRequest) {
			r.Config.Linux.SecurityContext.RunAsGroup = &runtimeapi.Int64Value{Value: 1}
		},
		"a rate": func(r *runtimeapi.RunPodSandboxRequest) {
			r.Config.Annotations = map[string]string{"kubernetes.io/ingress-bandwidth": "1e999999999"}
		},
	} {
		r := sandboxRequest("a")
		change(r)
		_, err := n.runtime.RunPodSandbox(t.Context(), r)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		}
	}
	if got := n.list(nil); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	if entries, err := os.ReadDir(filepath.Join(n.davit.Roots.Root, "pods")); err != nil || len(entries) != 0 {
		t.Errorf("records %v, %v", entries, err)
	}
}
