//go:build faults || faultslong

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// tooFew runs davit with less and less of something, down to where not even a
// container's beginning can be made. Each run works whole, or fails in words and
// leaves nothing that is not cleared away as soon as there is enough.
func (n *node) tooFew(limits []int, says string, under func(limit int) string) {
	n.t.Helper()
	worked, failed := 0, 0
	for _, limit := range limits {
		again := n.under(under(limit))
		r := n.try("run", "--name", "short", n.image, "echo", "ok")
		removed := n.try("rm", "--force", "short")
		again()
		switch {
		case r.Code == 0 && r.Line() == "ok":
			worked++
		case r.Code == 0:
			n.t.Errorf("with %d, run prints %q and says that all went well\n%s", limit, r.Stdout, r.Stderr)
		default:
			failed++
			if !containsAny(r.Stderr, says) {
				n.t.Errorf("with %d, run ends with %d and says:\n%s", limit, r.Code, r.Stderr)
			}
		}
		if removed.Code != 0 && strings.Contains(removed.Stderr, "panic:") {
			n.t.Errorf("with %d, rm says:\n%s", limit, removed.Stderr)
		}
		n.empty()
		n.check()
		if n.t.Failed() {
			n.t.Fatalf("with %d", limit)
		}
	}
	n.t.Logf("%d runs worked, %d failed", worked, failed)
	if worked == 0 || failed == 0 {
		n.t.Errorf("%d runs worked, %d failed: the limits are not at the border", worked, failed)
	}
}

// containsAny says whether a text has one of the words, which | parts.
func containsAny(text, words string) bool {
	return slices.ContainsFunc(strings.Split(words, "|"), func(w string) bool { return strings.Contains(text, w) })
}

// downFrom are numbers from a great one to a small one.
func downFrom(from, to, step int) (out []int) {
	for i := from; i >= to; i -= step {
		out = append(out, i)
	}
	return out
}

// File descriptors run out in davit and in what it starts.
func filesOut(t *testing.T, limits []int) {
	n := newNode(t, "")
	n.tooFew(limits, "too many open files|Too many open files|inotify|epollcreate failed with 24|eventfd failed with 24", func(limit int) string { return fmt.Sprintf("ulimit -n %d", limit) })
}

// Processes run out in davit and in what it starts; the container's own and its
// monitor are counted elsewhere.
func processesOut(t *testing.T, limits []int) {
	n := newNode(t, "")
	c := n.newCgroup("pids")
	n.tooFew(limits, "", func(limit int) string {
		c.set("pids.max", strconv.Itoa(limit))
		return c.enter()
	})
}

// served is what a server with too little has done: pods that it acknowledged, with
// a container each, and how often it did not.
type served struct {
	pods   []string
	failed int
}

// try has the server make a pod with a container.
func (v *served) try(s *server, name string) error {
	ctx := s.n.t.Context()
	c := s.podConfig(name)
	p, err := s.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: c})
	if err != nil {
		v.failed++
		return err
	}
	v.pods = append(v.pods, p.PodSandboxId)
	k, err := s.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.PodSandboxId, Config: s.containerConfig("c", "exec sleep 1000"), SandboxConfig: c})
	if err == nil {
		_, err = s.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: k.ContainerId})
	}
	if err != nil {
		v.failed++
	}
	return err
}

// whole checks that the server lists what it acknowledged and nothing else, and
// removes it.
func (v *served) whole(s *server) {
	t := s.n.t
	t.Helper()
	list, err := s.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list.Items {
		got = append(got, p.Id)
	}
	want := slices.Sorted(slices.Values(v.pods))
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%d pods are listed, %d were acknowledged", len(got), len(want))
	}
	clear := func() bool {
		found, code := s.n.findings()
		return code == 0 && len(found) == 0
	}
	s.n.eventually("the server has cleared up what it could not undo", clear)
	for _, id := range v.pods {
		s.remove(id)
	}
	s.n.eventually("nothing is left of them", clear)
}

// A server that runs out of file descriptors says so, and works again as soon as
// there are some.
func TestF37ServerOutOfFiles(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	s.remove(s.sandbox(s.podConfig("warm")))
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var was unix.Rlimit
	limit := func(l *unix.Rlimit) {
		t.Helper()
		if err := unix.Prlimit(s.PID(), unix.RLIMIT_NOFILE, l, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Prlimit(s.PID(), unix.RLIMIT_NOFILE, nil, &was); err != nil {
		t.Fatal(err)
	}
	var v served
	for more := -2; more < 30; more += 3 {
		limit(&unix.Rlimit{Cur: uint64(len(open) + more), Max: was.Max})
		err := v.try(s, fmt.Sprint("few", more+2))
		if err != nil && !containsAny(err.Error(), "too many open files|Too many open files") {
			t.Errorf("with %d more files: %v", more, err)
		}
	}
	limit(&was)
	if v.failed == 0 {
		t.Error("nothing failed")
	}
	t.Logf("%d pods were made, %d calls failed", len(v.pods), v.failed)
	if err := v.try(s, "enough"); err != nil {
		t.Errorf("with enough files: %v", err)
	}
	v.whole(s)
}

// A server that can start no process fails, or even dies as Go's runtime will have
// it; when there are some again, a server goes on with what there is.
func TestF38ServerOutOfProcesses(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	lives := s.sandbox(s.podConfig("lives"))
	s.container(lives, s.containerConfig("c", "exec sleep 1000"))
	c := n.newCgroup("pids")
	v := served{pods: []string{lives}}
	for more := 0; more < 24; more += 4 {
		c.add(s.PID())
		now, _ := strconv.Atoi(c.get("pids.current"))
		c.set("pids.max", strconv.Itoa(now+more))
		err := v.try(s, fmt.Sprint("few", more))
		if more == 8 { // a removal is cut short, too
			_, _ = s.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: lives})
		}
		c.set("pids.max", "max")
		t.Logf("with %d more processes: %v", more, err)
		if !alive(strconv.Itoa(s.PID())) {
			_ = s.Kill()
			s.start()
		}
	}
	c.leave(s.PID())
	if v.failed == 0 {
		t.Error("nothing failed")
	}
	if err := v.try(s, "enough"); err != nil {
		t.Errorf("with enough processes: %v", err)
	}
	// What a dead server had begun is gone once another looks.
	s.n.eventually("what was not acknowledged is gone", func() bool {
		list, err := s.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
		return err == nil && len(list.Items) == len(v.pods)
	})
	v.whole(s)
}

// A container uses more memory than it may, alone, then as one of a pod that uses
// more than the pod may: it is OOMKilled, and its monitor, its neighbour and what
// comes after are as they were.
func TestF39OutOfMemory(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	parent := n.newCgroup("memory")
	parent.memory(48 << 20)
	greedy := func(limit int64) *runtimeapi.ContainerConfig {
		c := s.containerConfig("greedy", "")
		c.Command = []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=200M"}
		c.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: limit, MemorySwapLimitInBytes: limit}}
		return c
	}
	for _, tt := range []struct {
		name, parent string
		limit        int64
	}{{"container", "", 16 << 20}, {"pod", "/" + filepath.Base(parent.dir), 0}} {
		t.Run(tt.name, func(t *testing.T) {
			pod := s.podConfig("oom-" + tt.name)
			pod.Linux.CgroupParent = tt.parent
			id := s.sandbox(pod)
			neighbour := s.container(id, s.containerConfig("neighbour", "read -t 5 x; "+counting))
			before := s.status(neighbour)
			out, err := s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: id, Config: greedy(tt.limit), SandboxConfig: pod})
			if err == nil {
				_, err = s.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: out.ContainerId})
			}
			if err != nil {
				t.Fatal(err)
			}
			n.eventually("the container is killed", func() bool { return s.status(out.ContainerId).State == runtimeapi.ContainerState_CONTAINER_EXITED })
			if c := s.status(out.ContainerId); c.ExitCode != 137 || c.Reason != "OOMKilled" {
				t.Errorf("it ended with %d, %s: %s", c.ExitCode, c.Reason, c.Message)
			}
			if c := s.status(neighbour); c.State != runtimeapi.ContainerState_CONTAINER_RUNNING || c.StartedAt != before.StartedAt {
				t.Errorf("the neighbour is %v", c)
			}
			x, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: neighbour, Cmd: []string{"echo", "here"}, Timeout: 30})
			if err != nil || string(x.Stdout) != "here\n" {
				t.Errorf("an exec beside it: %v, %v", x, err)
			}
			pid := n.must("inspect", "--format", "{{.State.Pid}}", neighbour).Line()
			n.kill(pid)
			n.eventually("the neighbour is dead", func() bool { return s.status(neighbour).State == runtimeapi.ContainerState_CONTAINER_EXITED })
			t.Logf("the neighbour, which was killed otherwise, ended as %s", s.status(neighbour).Reason)
			s.remove(id)
		})
	}
}
