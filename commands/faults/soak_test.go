//go:build faults || faultslong

package faults

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// figures are what a server holds. Its memory is what no file has: pages of the
// program count where the kernel has them once, and come as soon as they are needed for
// the first time.
type figures struct {
	memory, fds, goroutines, heap int
}

// anonymous is the resident memory of a process that no file has, see proc(5).
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "\nRssAnon:")
	var kb int
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// metricsAt is the configuration of a server that tells of itself.
func metricsAt(socket string) string { return fmt.Sprintf("[cri]\nmetrics = \"unix://%s\"\n", socket) }

// page reads a page of the server's metrics socket.
func (n *node) page(socket, path string) string {
	n.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	resp, err := client.Get("http://davit" + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(text)
}

// figures are the least of what a server shows when it is looked at several times:
// what it needs at rest. Its memory is looked at from outside, and before it is asked
// for all else: some seconds after the last call that did something it gives back what
// calls have needed, once, and what it is asked for here needs some megabytes.
func (s *server) figures(socket string) figures {
	s.n.t.Helper()
	least := figures{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt}
	for range 16 {
		time.Sleep(500 * time.Millisecond)
		least.memory = min(least.memory, anonymous(s.n.t, s.PID()))
	}
	for range 4 {
		time.Sleep(250 * time.Millisecond)
		profile := s.n.page(socket, "/debug/pprof/heap?gc=1&debug=1") // its figures are those right after the collection
		text := s.n.page(socket, "/metrics")
		get := func(name string) int {
			m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text + profile)
			if m == nil {
				s.n.t.Fatalf("the metrics lack %s", name)
			}
			v, _ := strconv.ParseFloat(m[1], 64)
			return int(v)
		}
		least.fds = min(least.fds, get("process_open_fds"))
		least.goroutines = min(least.goroutines, get("go_goroutines"))
		least.heap = min(least.heap, get("# HeapAlloc ="))
	}
	return least
}

// middle has the median of each of some figures.
func middle(of []figures) figures {
	median := func(get func(figures) int) int {
		all := make([]int, len(of))
		for i, f := range of {
			all[i] = get(f)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return figures{
		memory: median(func(f figures) int { return f.memory }), fds: median(func(f figures) int { return f.fds }),
		goroutines: median(func(f figures) int { return f.goroutines }), heap: median(func(f figures) int { return f.heap }),
	}
}

// flat checks that figures have grown by no more than a twentieth.
func (n *node) flat(first, last figures) {
	n.t.Helper()
	n.t.Logf("memory %d → %d KiB, heap %d → %d KiB, descriptors %d → %d, goroutines %d → %d",
		first.memory>>10, last.memory>>10, first.heap>>10, last.heap>>10, first.fds, last.fds, first.goroutines, last.goroutines)
	for _, c := range []struct {
		what        string
		first, last int
	}{
		{"memory", first.memory, last.memory}, {"heap", first.heap, last.heap},
		{"file descriptors", first.fds, last.fds}, {"goroutines", first.goroutines, last.goroutines},
	} {
		if c.last > c.first+c.first/20 {
			n.t.Errorf("%s has grown from %d to %d", c.what, c.first, c.last)
		}
	}
}

// soak makes and removes pods one after the other on one server, as a kubelet
// does, and compares what the server holds about the pod numbered warm with what it
// holds about the last: the middle of looks before, then and after, since the
// collector's rhythm alone moves the memory by some percent for some hundred pods.
func soak(t *testing.T, warm, last int) {
	const every, around = 100, 2
	dir, err := os.MkdirTemp("", "davit-soak-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "m.sock")
	n := newNode(t, metricsAt(socket))
	if err := n.Roots.AddPodNetwork(94); err != nil {
		t.Fatal(err)
	}
	s := n.serve()
	s.events()
	var looks []figures
	began := time.Now()
	for i := 1; i <= last+around*every; i++ {
		s.life(fmt.Sprintf("soak%d", i), i%4 == 0)
		if t.Failed() {
			t.Fatalf("at pod %d", i)
		}
		if i%every == 0 {
			looks = append(looks, s.figures(socket))
			t.Logf("%d pods in %s: %+v", i, time.Since(began).Round(time.Second), looks[len(looks)-1])
		}
	}
	about := func(pod int) figures {
		at := pod/every - 1
		return middle(looks[at-around : at+around+1])
	}
	n.flat(about(warm), about(last))
	if t.Failed() {
		t.Logf("goroutines:\n%s", n.page(socket, "/debug/pprof/goroutine?debug=1"))
	}
	if list, err := s.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{}); err != nil || len(list.Items) > 0 {
		t.Errorf("pods are left: %v, %v", list, err)
	}
	n.must("pod", "ps", "-a")
}

// events hears the server's events, as a kubelet does, until the test ends.
func (s *server) events() {
	s.n.t.Helper()
	stream, err := s.GetContainerEvents(s.n.t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		s.n.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()
	s.n.t.Cleanup(func() { _ = s.conn.Close(); <-done })
}

// life is the whole life of a pod: networked has it on the pods' network.
func (s *server) life(name string, networked bool) {
	s.n.t.Helper()
	ctx := s.n.t.Context()
	pod := s.podConfig(name)
	if networked {
		pod.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
	}
	id := s.sandbox(pod)
	lives := s.container(id, s.containerConfig("lives", "exec sleep 1000"))
	ends := s.container(id, s.containerConfig("ends", "exit 3"))
	x, err := s.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: lives, Cmd: []string{"echo", name}, Timeout: 60})
	if err != nil || string(x.Stdout) != name+"\n" {
		s.n.t.Errorf("exec: %v, %v", x, err)
	}
	if _, err := s.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: lives}); err != nil {
		s.n.t.Error(err)
	}
	s.n.eventually("the short container has ended", func() bool {
		return s.status(ends).State == runtimeapi.ContainerState_CONTAINER_EXITED
	})
	if got := s.status(ends).ExitCode; got != 3 {
		s.n.t.Errorf("exit code %d, want 3", got)
	}
	_, err = s.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: lives})
	if err == nil {
		_, err = s.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: ends})
	}
	if err != nil {
		s.n.t.Error(err)
	}
	s.remove(id)
	list, err := s.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil || slices.ContainsFunc(list.GetContainers(), func(c *runtimeapi.Container) bool { return c.PodSandboxId == id }) {
		s.n.t.Errorf("containers are left: %v, %v", list, err)
	}
}
