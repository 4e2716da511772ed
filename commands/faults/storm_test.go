//go:build faults || faultslong

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// storm is a server that is ended again and again while clients make it work as a
// kubelet does, with containers that live through all of it.
type storm struct {
	*server
	lives []*longLived
	over  atomic.Bool // the clients end what they are at

	acknowledged, undone, execs, lists atomic.Int64
}

// longLived is a container that writes a number ten times a second.
type longLived struct {
	sandbox, id, log string
	startedAt        int64
	pid              int
	pidStart         string
}

// counting writes its numbers without making processes.
const counting = `mkfifo /tick; exec 3<>/tick; i=0; while :; do echo $i; i=$((i+1)); read -t 0.1 x <&3; done`

// newStorm runs so many pods with a long-lived container each, some of them on the
// pods' network.
func newStorm(t *testing.T, pods int) *storm {
	t.Helper()
	n := newNode(t, "")
	if err := n.Roots.AddPodNetwork(95); err != nil {
		t.Fatal(err)
	}
	st := &storm{server: n.serve(), lives: make([]*longLived, pods)}
	var g errgroup.Group
	g.SetLimit(4)
	for i := range pods {
		g.Go(func() (err error) { st.lives[i], err = st.begin(fmt.Sprintf("lives%d", i), i%5 == 0); return err })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return st
}

// insist repeats a call as long as the server dies over it.
func insist[Q, A any](ctx context.Context, call func(context.Context, Q, ...grpc.CallOption) (A, error), q Q) (A, error) {
	for {
		a, err := call(ctx, q, grpc.WaitForReady(true))
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return a, err
		}
	}
}

// pod is a sandbox's configuration, on the pods' network or on the host's.
func (st *storm) pod(name string, networked bool) *runtimeapi.PodSandboxConfig {
	c := st.podConfig(name)
	if networked {
		c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
	}
	return c
}

// create makes a sandbox with a container.
func (st *storm) create(c *runtimeapi.PodSandboxConfig, k *runtimeapi.ContainerConfig) (sandbox, id string, err error) {
	ctx := context.WithoutCancel(st.n.t.Context())
	s, err := insist(ctx, st.RunPodSandbox, &runtimeapi.RunPodSandboxRequest{Config: c})
	if err != nil {
		return "", "", fmt.Errorf("running sandbox %s: %w", c.Metadata.Name, err)
	}
	out, err := insist(ctx, st.CreateContainer, &runtimeapi.CreateContainerRequest{PodSandboxId: s.PodSandboxId, Config: k, SandboxConfig: c})
	if err != nil {
		return "", "", fmt.Errorf("creating a container in %s: %w", c.Metadata.Name, err)
	}
	return s.PodSandboxId, out.ContainerId, nil
}

// begin runs a sandbox with a long-lived container.
func (st *storm) begin(name string, networked bool) (*longLived, error) {
	ctx := st.n.t.Context()
	c := st.pod(name, networked)
	sandbox, id, err := st.create(c, st.containerConfig("counts", counting))
	if err == nil {
		_, err = st.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
	}
	if err != nil {
		return nil, err
	}
	l := &longLived{sandbox: sandbox, id: id, log: filepath.Join(c.LogDirectory, "counts.log")}
	l.startedAt, l.pid, err = st.look(ctx, id)
	if err == nil {
		l.pidStart, err = pidStart(l.pid)
	}
	return l, err
}

// look says when a container was started and what its process is.
func (st *storm) look(ctx context.Context, id string) (startedAt int64, pid int, err error) {
	out, err := insist(ctx, st.ContainerStatus, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return 0, 0, err
	}
	if out.Status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return 0, 0, fmt.Errorf("container %s is %s, exit code %d, %s: %s", id, out.Status.State, out.Status.ExitCode, out.Status.Reason, out.Status.Message)
	}
	var info struct{ Pid int }
	err = json.Unmarshal([]byte(out.Info["info"]), &info)
	return out.Status.StartedAt, info.Pid, err
}

// pidStart is when a process started, in clock ticks since the boot.
func pidStart(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	return f[19], nil // proc_pid_stat(5): the 22nd, counted from the third
}

// weather ends the server so many times while clients are at work, and starts it
// again. end is how: Kill or Stop.
func (st *storm) weather(times int, end func() error) {
	t := st.n.t
	t.Helper()
	var clients sync.WaitGroup
	for w := range 4 {
		clients.Go(func() { st.comeAndGo(w) })
	}
	clients.Go(st.exec)
	clients.Go(st.list)
	var ready []time.Duration
	for i := range times {
		ready = append(ready, st.outage(i, end))
		if t.Failed() {
			break
		}
	}
	st.over.Store(true)
	clients.Wait()
	st.over.Store(false)
	slices.Sort(ready)
	t.Logf("%d pods live, ended %d times, ready after %s, %s at most; meanwhile %d acknowledged starts, %d that were undone, %d execs, %d lists",
		len(st.lives), len(ready), ready[len(ready)/2].Round(time.Millisecond), ready[len(ready)-1].Round(time.Millisecond),
		st.acknowledged.Load(), st.undone.Load(), st.execs.Load(), st.lists.Load())
}

// outage ends the server at a random moment and starts it again a random while
// later, and returns how long it was until it answered. Containers exit while no
// server runs, and one that lives is seen to write.
func (st *storm) outage(i int, end func() error) (ready time.Duration) {
	t := st.n.t
	t.Helper()
	dir, err := os.MkdirTemp(st.n.Roots.Dir, "unseen")
	if err != nil {
		t.Fatal(err)
	}
	exits := st.waiting(filepath.Base(dir), dir)
	time.Sleep(time.Duration(500+rand.IntN(2500)) * time.Millisecond)
	if err := end(); err != nil {
		t.Error(err)
	}
	for code := range exits {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(code)), fmt.Appendln(nil, code), 0); err != nil {
			t.Error(err)
		}
	}
	for _, x := range exits {
		st.n.eventually("the container has exited", func() bool { now, err := pidStart(x.pid); return err != nil || now != x.pidStart })
	}
	l := st.lives[rand.IntN(len(st.lives))]
	was := len(st.numbers(l))
	st.n.eventually("a container's log grows without a server", func() bool { return len(st.numbers(l)) > was+2 })
	time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
	began := time.Now()
	st.start()
	ready = time.Since(began)
	if ready > 2*time.Second {
		t.Errorf("outage %d: ready after %s", i, ready)
	}
	st.check(i)
	for code, x := range exits {
		out, err := st.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: x.id})
		if s := out.GetStatus(); err != nil || s.State != runtimeapi.ContainerState_CONTAINER_EXITED || int(s.ExitCode) != code || s.FinishedAt > began.UnixNano() {
			t.Errorf("a container that exited with %d while there was no server: %v, %v", code, s, err)
		}
		if err := st.drop(x.sandbox); err != nil {
			t.Error(err)
		}
	}
	return ready
}

// waiting are containers, by the code that they exit with as soon as somebody
// writes it into the fifo of its name.
func (st *storm) waiting(name, dir string) map[int]*longLived {
	t := st.n.t
	t.Helper()
	out := map[int]*longLived{}
	for _, code := range []int{0, 1, 42, 255} {
		at := filepath.Join(dir, strconv.Itoa(code))
		if err := syscall.Mkfifo(at, 0o600); err != nil {
			t.Fatal(err)
		}
		c := st.pod(fmt.Sprintf("%s-%d", name, code), false)
		k := st.containerConfig("waits", "read code </go; exit $code")
		k.Mounts = []*runtimeapi.Mount{{ContainerPath: "/go", HostPath: at}}
		sandbox, id, err := st.create(c, k)
		if err == nil {
			_, err = st.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id})
		}
		l := &longLived{sandbox: sandbox, id: id}
		if err == nil {
			_, l.pid, err = st.look(t.Context(), id)
		}
		if err == nil {
			l.pidStart, err = pidStart(l.pid)
		}
		if err != nil {
			t.Fatal(err)
		}
		out[code] = l
	}
	return out
}

// check checks that a server that has just started knows all that lives.
func (st *storm) check(outage int) {
	t := st.n.t
	t.Helper()
	list, err := st.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{
		Filter: &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}})
	if err != nil {
		t.Fatal(err)
	}
	running := map[string]bool{}
	for _, c := range list.Containers {
		running[c.Id] = true
	}
	for i, l := range st.lives {
		if !running[l.id] {
			t.Errorf("outage %d: container %d (%s) is not listed as running", outage, i, l.id)
		}
	}
}

// comeAndGo makes and removes pods with a container that exits with a code of its
// own, as a kubelet does: what the server's death interrupts is repeated.
func (st *storm) comeAndGo(worker int) {
	for i := 0; !st.over.Load() && !st.n.t.Failed(); i++ {
		code := int32(1 + (worker*50+i)%250)
		if err := st.shortLife(fmt.Sprintf("short%d-%d", worker, i), code, i%4 == 0); err != nil {
			st.n.t.Error(err)
		}
	}
}

func (st *storm) shortLife(name string, code int32, networked bool) error {
	ctx := context.WithoutCancel(st.n.t.Context())
	c := st.pod(name, networked)
	sandbox, id, err := st.create(c, st.containerConfig("short", fmt.Sprintf("read -t 0.%d x; exit %d", code%10, code)))
	if err != nil {
		return err
	}
	_, err = st.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}, grpc.WaitForReady(true))
	acknowledged := err == nil
	if err != nil && status.Code(err) != codes.Unavailable {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out, err := insist(ctx, st.ContainerStatus, &runtimeapi.ContainerStatusRequest{ContainerId: id})
		if err != nil {
			return fmt.Errorf("status of %s: %w", name, err)
		}
		s := out.Status
		if s.State == runtimeapi.ContainerState_CONTAINER_EXITED && s.ExitCode == code {
			st.acknowledged.Add(1)
			break
		}
		if !acknowledged && s.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			st.undone.Add(1)
			break
		}
		if s.State == runtimeapi.ContainerState_CONTAINER_EXITED || time.Now().After(deadline) {
			return fmt.Errorf("%s of an acknowledged start (%t) is to exit with %d: %v", name, acknowledged, code, s)
		}
	}
	if code%2 == 0 {
		if _, err := insist(ctx, st.RemoveContainer, &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			return fmt.Errorf("removing the container of %s: %w", name, err)
		}
	}
	return st.drop(sandbox)
}

// drop stops and removes a sandbox.
func (st *storm) drop(sandbox string) error {
	ctx := context.WithoutCancel(st.n.t.Context())
	_, err := insist(ctx, st.StopPodSandbox, &runtimeapi.StopPodSandboxRequest{PodSandboxId: sandbox})
	if err == nil {
		_, err = insist(ctx, st.RemovePodSandbox, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sandbox})
	}
	return err
}

// exec runs commands in containers that live.
func (st *storm) exec() {
	ctx := context.WithoutCancel(st.n.t.Context())
	for i := 0; !st.over.Load(); i++ {
		l, want := st.lives[i%len(st.lives)], fmt.Sprintln(i)
		out, err := insist(ctx, st.ExecSync, &runtimeapi.ExecSyncRequest{ContainerId: l.id, Cmd: []string{"echo", strconv.Itoa(i)}, Timeout: 60})
		if err != nil || string(out.Stdout) != want || out.ExitCode != 0 {
			st.n.t.Errorf("exec %d: %v, %v", i, out, err)
		}
		st.execs.Add(1)
	}
}

// list asks for what a kubelet asks for all the time.
func (st *storm) list() {
	ctx := context.WithoutCancel(st.n.t.Context())
	for !st.over.Load() {
		_, err := insist(ctx, st.ListPodSandbox, &runtimeapi.ListPodSandboxRequest{})
		if err == nil {
			_, err = insist(ctx, st.ListContainers, &runtimeapi.ListContainersRequest{})
		}
		if err == nil {
			_, err = insist(ctx, st.ListContainerStats, &runtimeapi.ListContainerStatsRequest{})
		}
		if err != nil {
			st.n.t.Errorf("listing: %v", err)
		}
		st.lists.Add(1)
		time.Sleep(100 * time.Millisecond)
	}
}

// numbers are the lines of a container's log, without one that is being written.
func (st *storm) numbers(l *longLived) []string {
	data, err := os.ReadFile(l.log)
	if err != nil {
		st.n.t.Error(err)
	}
	return strings.Split(string(data[:bytes.LastIndexByte(data, '\n')+1]), "\n")
}

// clear checks that no container blinked, and removes them all.
func (st *storm) clear() {
	t := st.n.t
	t.Helper()
	var g errgroup.Group
	g.SetLimit(4)
	var longest time.Duration
	lines := 0
	for i, l := range st.lives {
		startedAt, pid, err := st.look(t.Context(), l.id)
		if err != nil {
			t.Error(err)
			continue
		}
		start, err := pidStart(pid)
		if err != nil || startedAt != l.startedAt || pid != l.pid || start != l.pidStart {
			t.Errorf("container %d was process %d of %s, started at %d; is process %d of %s, %d (%v)", i, l.pid, l.pidStart, l.startedAt, pid, start, startedAt, err)
		}
		n, gap := st.unbroken(l)
		lines, longest = lines+n, max(longest, gap)
	}
	t.Logf("%d lines of %d logs, none missing, %s between two at most", lines, len(st.lives), longest.Round(time.Millisecond))
	for _, l := range st.lives {
		g.Go(func() error { return st.drop(l.sandbox) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if list, err := st.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{}); err != nil || len(list.Items) > 0 {
		t.Errorf("pods are left: %v, %v", list, err)
	}
}

// unbroken checks that a log has all numbers, and returns how many, and the longest
// time between two.
func (st *storm) unbroken(l *longLived) (lines int, gap time.Duration) {
	t := st.n.t
	t.Helper()
	var before time.Time
	for i, line := range st.numbers(l) {
		if line == "" {
			continue
		}
		f := strings.Fields(line)
		at, err := time.Parse(time.RFC3339Nano, f[0])
		if err != nil || len(f) != 4 || f[1] != "stdout" || f[2] != "F" || f[3] != strconv.Itoa(i) {
			t.Errorf("line %d of %s is %q (%v)", i, l.log, line, err)
			return i, gap
		}
		if i > 0 {
			gap = max(gap, at.Sub(before))
		}
		before, lines = at, i+1
	}
	return lines, gap
}

// serverStorm ends the server at random moments with so many pods live, first by
// SIGKILL, then by SIGTERM.
func serverStorm(t *testing.T, pods, kills, stops int) {
	st := newStorm(t, pods)
	st.weather(kills, func() error { return st.Kill() })
	st.weather(stops, func() error { return st.Stop() })
	st.clear()
}
