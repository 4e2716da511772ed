//go:build faults || faultslong

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defined are the codes of what may be said of a container that others are at work on.
func defined() []codes.Code {
	return []codes.Code{codes.OK, codes.NotFound, codes.FailedPrecondition, codes.Unavailable, codes.AlreadyExists, codes.Aborted}
}

// race is a container of the command line's and one of a kubelet's, on which two
// command lines and the server are at work.
type race struct {
	*node
	s      *server
	rounds int64
	done   atomic.Int64
	slow   atomic.Int64 // the longest answer to who only reads
	pod    string
	kube   atomic.Value // the ID of the kubelet's container
}

// atWork runs a command and judges its answer: an exit code and a text that the
// command line has for such a case, in time.
func (r *race) atWork(args ...string) {
	got := r.try(args...)
	if got.Took > 40*time.Second {
		r.t.Errorf("davit %v took %s", args, got.Took)
	}
	lines := strings.Split(strings.TrimSpace(got.Stderr), "\n")
	told := slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Error: ") })
	switch {
	case strings.Contains(got.Stderr, "panic") || strings.Contains(got.Stderr, "goroutine "):
		r.t.Errorf("davit %v: %s", args, got.Stderr)
	case got.Code == 0, told && got.Code == 125:
	case told && (got.Code == 1 || got.Code == 2) && args[0] == "rm":
	case args[0] == "exec" && (got.Code == 137 || got.Code == 255): // its container was killed
	default:
		r.t.Errorf("davit %v: exit code %d\n%s", args, got.Code, got.Stderr)
	}
	for _, bad := range []string{"corrupt", "no such file", "file exists", "device or resource busy", "deadline"} {
		if strings.Contains(got.Stderr, bad) {
			r.t.Errorf("davit %v: %s", args, got.Stderr)
		}
	}
}

// line is one command line that does this and that to either container.
func (r *race) line() {
	for r.done.Add(1) <= r.rounds && !r.t.Failed() {
		name := "web"
		force := []string{}
		if rand.IntN(3) == 0 {
			name, force = r.kube.Load().(string), []string{"--force"}
		}
		switch rand.IntN(8) {
		case 0:
			r.atWork("create", "--name", "web", "--network", "none", r.image, "sleep", "1000")
		case 1, 2:
			r.atWork("start", "web")
		case 3:
			r.atWork(append(append([]string{"stop"}, force...), "-t", "0", name)...)
		case 4:
			r.atWork("rm", "--force", "-t", "0", "web")
		case 5:
			r.atWork("kill", "web")
		case 6:
			r.atWork("exec", name, "true")
		case 7:
			r.atWork("restart", "-t", "0", "web")
		}
	}
}

// kubelet makes and ends the container of a sandbox, over and over.
func (r *race) kubelet() {
	ok := func(what string, err error) bool {
		if !slices.Contains(defined(), status.Code(err)) {
			r.t.Errorf("%s: %v", what, err)
		}
		return err == nil
	}
	for n := 0; r.done.Load() < r.rounds && !r.t.Failed(); n++ {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
		made, err := r.s.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: r.pod, Config: r.s.containerConfig("c", "exec sleep 1000")})
		if ok("CreateContainer", err) {
			r.kube.Store(made.ContainerId)
			_, err = r.s.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId})
			ok("StartContainer", err)
			var g sync.WaitGroup
			for range 2 {
				g.Go(func() {
					_, err := r.s.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: made.ContainerId, Timeout: int64(rand.IntN(2))})
					ok("StopContainer", err)
				})
			}
			g.Wait()
			_, err = r.s.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: made.ContainerId})
			ok("RemoveContainer", err)
		}
		cancel()
	}
}

// reader lists and looks, and waits for nobody.
func (r *race) reader() {
	for r.done.Load() < r.rounds && !r.t.Failed() {
		began := time.Now()
		if _, err := r.s.ListContainers(r.t.Context(), &runtimeapi.ListContainersRequest{}); err != nil {
			r.t.Errorf("ListContainers: %v", err)
		}
		_, _ = r.s.ContainerStatus(r.t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: r.kube.Load().(string)})
		r.slow.Store(max(r.slow.Load(), int64(time.Since(began))))
		got := r.must("ps", "-a", "--format", "{{.Names}}")
		names := strings.Fields(got.Stdout)
		slices.Sort(names)
		if one := slices.Compact(slices.Clone(names)); len(one) < len(names) {
			r.t.Errorf("several have one name: %q", names)
		}
	}
}

// racers lets two command lines, a kubelet and a reader at two containers, for that
// many commands in all. Every answer is a defined one, nothing stands still, no two
// containers have one name, and readers do not wait.
func racers(t *testing.T, rounds int) {
	n := newNode(t, "")
	r := &race{node: n, s: n.serve(), rounds: int64(rounds)}
	r.pod = r.s.sandbox(r.s.podConfig("race"))
	r.kube.Store(strings.Repeat("0", 64))
	var g sync.WaitGroup
	for _, f := range []func(){r.line, r.line, r.kubelet, r.reader} {
		g.Go(f)
	}
	g.Wait()
	t.Logf("the slowest answer of the server to a reader took %s", time.Duration(r.slow.Load()))
	if r.slow.Load() > int64(5*time.Second) {
		t.Error("a reader waited")
	}
	r.s.remove(r.pod)
	n.empty()
}

// readersDoNotWait reads everything while a writer has every lock that there is of a
// container and its pod, for as long as it likes.
func readersDoNotWait(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	const stubborn = "echo up; trap '' TERM; while :; do sleep 0.2; done"
	id := n.must("run", "-d", "--name", "web", n.image, "sh", "-c", stubborn).Line()
	pod := s.sandbox(s.podConfig("kept"))
	kube := s.container(pod, s.containerConfig("c", stubborn))
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() {
		_, _ = n.Run(ctx, "stop", "-t", "1000", "web")
	})
	g.Go(func() {
		_, _ = s.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: kube, Timeout: 1000})
	})
	n.eventually("the writers have their locks", func() bool { return n.working("containers", id) && n.working("containers", kube) })
	for _, args := range [][]string{
		{"ps", "-a"}, {"inspect", "web"}, {"logs", "web"}, {"top", "web"}, {"port", "web"}, {"stats", "--no-stream", "web"}, {"exec", "web", "true"},
		{"pod", "ps"}, {"pod", "inspect", id}, {"images"}, {"network", "ls"}, {"volume", "ls"}, {"system", "check"},
	} {
		if took := n.try(args...).Took; took > 5*time.Second {
			t.Errorf("davit %v took %s", args, took)
		}
	}
	n.within(5*time.Second, func() {
		s.status(kube)
		_, err := s.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
		if err == nil {
			_, err = s.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
		}
		if err == nil {
			_, err = s.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{})
		}
		if err == nil {
			_, err = s.ListContainerStats(t.Context(), &runtimeapi.ListContainerStatsRequest{})
		}
		if err == nil {
			_, err = s.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if !n.working("containers", id) {
		t.Error("the writer did not have the lock all that time")
	}
	cancel()
	g.Wait()
	if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: kube}); err != nil {
		t.Error(err)
	}
	s.remove(pod)
	n.must("rm", "--force", "-t", "0", "web")
	n.empty()
}

// working says whether an operation is under way on an object.
func (n *node) working(kind, id string) bool {
	return n.opKind(kind, id) != ""
}

// opKind is what is under way on an object, "" for nothing.
func (n *node) opKind(kind, id string) string {
	data, _ := os.ReadFile(filepath.Join(n.Roots.RunRoot, kind, id, "op"))
	var op struct{ Kind string }
	_ = json.Unmarshal(bytes.TrimSpace(data), &op)
	return op.Kind
}
