//go:build rootful

package streaming

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"

	"github.com/davit-containers/davit/commands/harness"
)

// rig is a davit that serves.
type rig struct {
	harness.Davit
	runtimeapi.RuntimeServiceClient
	image  string
	server int // its pid
	made   int // sandboxes
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{Davit: harness.TestDavit(t)}
	image, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	if err != nil {
		t.Fatal(err)
	}
	reg := harness.TestRegistry(t, harness.RegistryConfig{})
	if err := reg.Push(t.Context(), "busybox:latest", image); err != nil {
		t.Fatal(err)
	}
	if err := r.Roots.TrustRegistry(reg.Addr); err != nil {
		t.Fatal(err)
	}
	if err := r.Roots.AddPodNetwork(95); err != nil {
		t.Fatal(err)
	}
	r.image = reg.Ref("busybox:latest")
	r.must(t, "pull", "-q", r.image)
	server, err := harness.StartCRI(t.Context(), r.Davit, filepath.Join(r.Roots.Dir, "serve-cri.log"))
	if err != nil {
		t.Fatal(err)
	}
	r.server = server.PID()
	conn, err := grpc.NewClient("unix:"+server.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		began := time.Now()
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the server took %s to stop", took)
		}
		if log, _ := os.ReadFile(server.LogAt); t.Failed() {
			t.Logf("%s", log)
		}
	})
	r.RuntimeServiceClient = runtimeapi.NewRuntimeServiceClient(conn)
	return r
}

func (r *rig) must(t *testing.T, args ...string) string {
	t.Helper()
	got, err := r.Run(context.WithoutCancel(t.Context()), args...)
	if err != nil || got.Code != 0 {
		t.Fatalf("davit %v: %v, exit code %d\n%s", args, err, got.Code, got.Stderr)
	}
	return got.Line()
}

// sandbox runs one, on the pods' network or on the host's, until the test ends.
func (r *rig) sandbox(t *testing.T, network runtimeapi.NamespaceMode) string {
	t.Helper()
	r.made++
	name := fmt.Sprintf("p%d", r.made)
	modes := &runtimeapi.NamespaceOption{Network: network, Pid: runtimeapi.NamespaceMode_CONTAINER}
	pod, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "test", Uid: name},
		Linux:    &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: modes}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.removeSandbox(t, pod.PodSandboxId) })
	return pod.PodSandboxId
}

func (r *rig) removeSandbox(t *testing.T, id string) {
	t.Helper()
	if _, err := r.RemovePodSandbox(context.WithoutCancel(t.Context()), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Error(err)
	}
}

// container runs one in a sandbox of its own and returns its ID.
func (r *rig) container(t *testing.T, command ...string) string {
	t.Helper()
	return r.run(t, r.sandbox(t, runtimeapi.NamespaceMode_NODE), &runtimeapi.ContainerConfig{Command: command})
}

// run runs a container in a sandbox and returns its ID.
func (r *rig) run(t *testing.T, sandbox string, c *runtimeapi.ContainerConfig) string {
	t.Helper()
	c.Metadata, c.Image = &runtimeapi.ContainerMetadata{Name: "c"}, &runtimeapi.ImageSpec{Image: r.image}
	made, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatal(err)
	}
	return made.ContainerId
}

// sh runs a script in a container.
func (r *rig) sh(t *testing.T, id, script string) *runtimeapi.ExecSyncResponse {
	t.Helper()
	got, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"sh", "-c", script}, Timeout: 20})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return got
}

// until waits for a script in a container to succeed.
func (r *rig) until(t *testing.T, id, script string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for r.sh(t, id, script).ExitCode != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so:\n%s", script, r.sh(t, id, "ps -o pid,ppid,stat,args").Stdout)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// gone is a script that succeeds when no process has the argument: the pattern
// does not match itself.
func gone(argument string) string {
	return "! grep -lq '[" + argument[:1] + "]" + argument[1:] + "' /proc/[0-9]*/cmdline 2>/dev/null"
}

func TestReal(t *testing.T) {
	r := newRig(t)
	id := r.container(t, "sleep", "inf")
	t.Run("ExecSync", func(t *testing.T) { testExecSync(t, r, id) })
	// Their children are the server's, once they are orphans.
	host := r.run(t, r.sandbox(t, runtimeapi.NamespaceMode_NODE), &runtimeapi.ContainerConfig{
		Command: []string{"sleep", "inf"},
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_NODE},
		}},
	})
	for range 3 {
		r.sh(t, host, "sleep 0.1 & :")
	}
	t.Run("many", func(t *testing.T) { testMany(t, r, id) })
	t.Run("exec", func(t *testing.T) { testRealExec(t, r, id) })
	t.Run("client goes", func(t *testing.T) { testRealClientGoes(t, r, id) })
	t.Run("attach", func(t *testing.T) { testRealAttach(t, r) })
	t.Run("stdin", func(t *testing.T) { testRealStdin(t, r) })
	t.Run("slow client", func(t *testing.T) { testRealSlow(t, r) })
	t.Run("ports", func(t *testing.T) { testRealPorts(t, r) })
	r.noZombies(t)
}

// noZombies holds the server to having reaped what it was left.
func (r *rig) noZombies(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var zombies []string
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, path := range stats {
			data, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
			if f[0] == "Z" && f[1] == strconv.Itoa(r.server) {
				zombies = append(zombies, string(data))
			}
		}
		if len(zombies) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the server has zombies: %q", zombies)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func testExecSync(t *testing.T, r *rig, id string) {
	got := r.sh(t, id, "echo out; echo err >&2; exit 3")
	if string(got.Stdout) != "out\n" || string(got.Stderr) != "err\n" || got.ExitCode != 3 {
		t.Errorf("got %v", got)
	}
	began := time.Now()
	if got := r.sh(t, id, "sleep 30 & echo out"); string(got.Stdout) != "out\n" || time.Since(began) > 5*time.Second {
		t.Errorf("with a child that holds its output: %v after %s", got, time.Since(began))
	}
	began = time.Now()
	_, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{
		ContainerId: id, Cmd: []string{"sh", "-c", "sleep 4321 & (setsid sleep 4321 &); sleep 4321"}, Timeout: 1,
	})
	if took := time.Since(began); grpcstatus.Code(err) != codes.DeadlineExceeded || took > 4*time.Second {
		t.Errorf("after its time, in %s: %v", took, err)
	}
	got = r.sh(t, id, "exec head -c 40000000 /dev/zero")
	if len(got.Stdout) != 16_000_000 || got.ExitCode != 0 {
		t.Errorf("%d bytes were kept, exit code %d", len(got.Stdout), got.ExitCode)
	}
	got = r.sh(t, id, "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2")
	if kept := len(got.Stdout) + len(got.Stderr); kept != 16<<20-64<<10 {
		t.Errorf("%d bytes of both streams were kept", kept)
	}
	if peak := r.peak(t); peak > 200<<10 {
		t.Errorf("the server took %d KiB", peak)
	}
	for _, tt := range []struct {
		name string
		r    *runtimeapi.ExecSyncRequest
		code codes.Code
	}{
		{"no container", &runtimeapi.ExecSyncRequest{ContainerId: strings.Repeat("0", 64), Cmd: []string{"true"}}, codes.NotFound},
		{"no ID", &runtimeapi.ExecSyncRequest{ContainerId: "../x", Cmd: []string{"true"}}, codes.NotFound},
		{"no command", &runtimeapi.ExecSyncRequest{ContainerId: id}, codes.InvalidArgument},
	} {
		if _, err := r.ExecSync(t.Context(), tt.r); grpcstatus.Code(err) != tt.code {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"nothing"}}); err == nil {
		t.Error("a command that is not there ran")
	}
}

// peak is the most memory that the server has had, in KiB.
func (r *rig) peak(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.server))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// testMany: each of many execs at once has its own exit code and output.
func testMany(t *testing.T, r *rig, id string) {
	var g sync.WaitGroup
	for i := range 200 {
		g.Go(func() {
			got, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{
				ContainerId: id, Cmd: []string{"sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i%120)},
			})
			if err != nil || int(got.ExitCode) != i%120 || string(got.Stdout) != strconv.Itoa(i)+"\n" {
				t.Errorf("%d: %v, %v", i, got, err)
			}
		})
	}
	g.Wait()
}

func (r *rig) exec(t *testing.T, req *runtimeapi.ExecRequest) string {
	t.Helper()
	got, err := r.Exec(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return got.Url
}

func testRealExec(t *testing.T, r *rig, id string) {
	t.Run("half-close", func(t *testing.T) {
		c := connect(t, r.exec(t, &runtimeapi.ExecRequest{
			ContainerId: id, Cmd: []string{"sh", "-c", "cat; echo end; exit 5"}, Stdin: true, Stdout: true, Stderr: true,
		}), v4)
		for _, kind := range []string{"error", "stdin", "stdout", "stderr"} {
			c.create(t, kind)
		}
		_, _ = io.WriteString(c.streams["stdin"], "hello\n")
		_ = c.streams["stdin"].Close()
		if got := string(readAll(t, c.streams["stdout"])); got != "hello\nend\n" {
			t.Errorf("stdout %q", got)
		}
		if st := c.status(t); st.Details == nil || st.Details.Causes[0].Message != "5" {
			t.Errorf("%+v", st)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		c := connectWebSocket(t, r.exec(t, &runtimeapi.ExecRequest{
			ContainerId: id, Cmd: []string{"sh", "-c", "while [ \"$(stty size 2>/dev/null)\" != '33 123' ]; do sleep 0.05; done; stty size; test -t 0"},
			Stdin: true, Stdout: true, Tty: true,
		}), v5)
		c.send(t, 4, `{"Width":123,"Height":33}`)
		got := c.messages(t)
		if got[1] != "33 123\r\n" || !strings.Contains(got[3], `"Success"`) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("not there", func(t *testing.T) {
		c := connectWebSocket(t, r.exec(t, &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"nothing"}, Stdout: true}), v5)
		if got := c.messages(t); !strings.Contains(got[3], "not found") {
			t.Errorf("got %q", got)
		}
	})
}

// testRealClientGoes: what was run for a client is killed with it.
func testRealClientGoes(t *testing.T, r *rig, id string) {
	for _, tty := range []bool{false, true} {
		c := connectWebSocket(t, r.exec(t, &runtimeapi.ExecRequest{
			ContainerId: id, Cmd: []string{"sh", "-c", "sleep 4242 & sleep 4242"}, Stdout: true, Tty: tty,
		}), v5)
		r.until(t, id, "! ("+gone("4242")+")")
		_ = c.raw.Close()
		r.until(t, id, gone("4242"))
	}
}

func (r *rig) attach(t *testing.T, req *runtimeapi.AttachRequest) string {
	t.Helper()
	got, err := r.Attach(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return got.Url
}

// testRealAttach: a container outlives its clients, and a client's session ends
// with the container.
func testRealAttach(t *testing.T, r *rig) {
	id := r.run(t, r.sandbox(t, runtimeapi.NamespaceMode_NODE), &runtimeapi.ContainerConfig{
		Command: []string{"sh", "-c", `while read x; do [ "$x" = quit ] && exit; echo got $x; done`}, Stdin: true,
	})
	all := &runtimeapi.AttachRequest{ContainerId: id, Stdin: true, Stdout: true, Stderr: true}
	first := connectWebSocket(t, r.attach(t, all), v5)
	second := connectWebSocket(t, r.attach(t, &runtimeapi.AttachRequest{ContainerId: id, Stdout: true}), v5)
	// A session stands before the client is attached, and there is no history.
	both := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			first.send(t, 0, "one\n")
			select {
			case <-both:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	want(t, first, "got one\n")
	want(t, second, "got one\n")
	close(both)
	sending.Wait()
	second.send(t, 0, "nobody asked for this stream\n")
	first.send(t, 0, "quit\n")
	for _, c := range []*client{first, second} {
		if got := c.messages(t); !strings.Contains(got[3], `"Success"`) {
			t.Errorf("at the end: %q", got)
		}
	}
	// Its streams end a moment before it does.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := r.Attach(t.Context(), all)
		if grpcstatus.Code(err) == codes.FailedPrecondition {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("after the end: %v", err)
			break
		}
	}
	id = r.container(t, "sh", "-c", "while sleep 0.1; do echo tick; done")
	// It has no stdin; the client's is thrown away and does not hold it up.
	all.ContainerId = id
	third := connectWebSocket(t, r.attach(t, all), v5)
	third.send(t, 0, strings.Repeat("x", 1<<20))
	want(t, third, "tick\n")
	_ = third.raw.Close()
	r.sh(t, id, "true")
}

// want reads a client's stdout until it has said so.
func want(t *testing.T, c *client, text string) {
	t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	var got []byte
	buf := make([]byte, 4096)
	for !strings.Contains(string(got), text) {
		n, err := c.ws.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %q: %v, after %q", text, err, got)
		}
		if n > 0 && buf[0] == 1 {
			got = append(got, buf[1:n]...)
		}
	}
}

// testRealStdin: a container's input ends with its first client only where it
// was made so.
func testRealStdin(t *testing.T, r *rig) {
	for _, once := range []bool{false, true} {
		t.Run(fmt.Sprintf("once %v", once), func(t *testing.T) {
			id := r.run(t, r.sandbox(t, runtimeapi.NamespaceMode_NODE), &runtimeapi.ContainerConfig{
				Command: []string{"sh", "-c", "while read x; do echo got $x; done; echo end >/end; exec sleep inf"},
				Stdin:   true, StdinOnce: once,
			})
			all := &runtimeapi.AttachRequest{ContainerId: id, Stdin: true, Stdout: true, Stderr: true}
			first := connectWebSocket(t, r.attach(t, all), v5)
			first.send(t, 0, "one\n")
			want(t, first, "got one\n")
			_ = first.raw.Close()
			if once {
				r.until(t, id, "test -e /end")
				return
			}
			second := connectWebSocket(t, r.attach(t, all), v5)
			second.send(t, 0, "two\n")
			want(t, second, "got two\n")
			_ = second.raw.Close()
			if r.sh(t, id, "test -e /end").ExitCode == 0 {
				t.Error("its input has ended")
			}
		})
	}
}

// testRealSlow: a container goes on whose client does not read, and can be
// stopped.
func testRealSlow(t *testing.T, r *rig) {
	id := r.container(t, "sh", "-c", `i=0; while :; do head -c 100000 /dev/zero; i=$((i+1)); echo $i >/count; done`)
	c := connect(t, r.attach(t, &runtimeapi.AttachRequest{ContainerId: id, Stdout: true}), v4)
	c.create(t, "error")
	c.create(t, "stdout")
	// 30 MB are more than all that is between could hold.
	r.until(t, id, "[ $(cat /count) -gt 300 ]")
	busy := connect(t, r.exec(t, &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"yes"}, Stdout: true}), v4)
	busy.create(t, "error")
	busy.create(t, "stdout")
	began := time.Now()
	r.must(t, "stop", "--force", "-t", "0", id)
	r.must(t, "rm", "--force", id)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stop and rm took %s", took)
	}
}

func testRealPorts(t *testing.T, r *rig) {
	for _, network := range []runtimeapi.NamespaceMode{runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_NODE} {
		t.Run(network.String(), func(t *testing.T) {
			pod := r.sandbox(t, network)
			id := r.run(t, pod, &runtimeapi.ContainerConfig{Command: []string{"nc", "-ll", "-p", "4007", "-e", "cat"}})
			r.until(t, id, "grep -q :0FA7 /proc/net/tcp /proc/net/tcp6")
			got, err := r.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: pod})
			if err != nil {
				t.Fatal(err)
			}
			c := connect(t, got.Url, portforward.ProtocolV1Name)
			first, _ := c.forward(t, 4007, 0)
			fault := c.forwardRefused(t, 4008, 1)
			if got := string(readAll(t, fault)); !strings.Contains(got, "refused") {
				t.Errorf("port 4008: %q", got)
			}
			_, _ = io.WriteString(first, "hello")
			_ = first.Close()
			if got := string(readAll(t, first)); got != "hello" {
				t.Errorf("port 4007: %q", got)
			}
			if _, err := r.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
				t.Error(err)
			}
			if _, err := r.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: pod}); grpcstatus.Code(err) != codes.FailedPrecondition {
				t.Errorf("after a stop: %v", err)
			}
			r.removeSandbox(t, pod)
			if _, err := r.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: pod}); grpcstatus.Code(err) != codes.NotFound {
				t.Errorf("after its end: %v", err)
			}
		})
	}
}
