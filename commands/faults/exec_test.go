//go:build faults || faultslong

package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// execSync runs a shell script in a container, through a connection that takes
// answers of any size.
func (s *server) execSync(id, script string, timeout int64) (*runtimeapi.ExecSyncResponse, error) {
	return s.ExecSync(context.WithoutCancel(s.n.t.Context()), &runtimeapi.ExecSyncRequest{
		ContainerId: id, Cmd: []string{"sh", "-c", script}, Timeout: timeout,
	}, grpc.MaxCallRecvMsgSize(16<<20))
}

// noExecs checks that no run folder of an exec is left.
func (n *node) noExecs() {
	n.t.Helper()
	n.eventually("the execs' folders are gone", func() bool {
		left, err := filepath.Glob(filepath.Join(n.Roots.RunRoot, "containers/*/exec-*"))
		return err == nil && len(left) == 0
	})
}

// An exec whose time is up is killed with its children and theirs, whatever signals
// they mind and sessions they made, and nobody else is.
func execTimeouts(t *testing.T) {
	const tree = "setsid sleep 4751 & setsid sh -c 'sleep 4751 & sleep 4751' & trap '' TERM HUP; sleep 4751 & sleep 4751; sleep 4751"
	n := newNode(t, "")
	s := n.serve()
	for _, pid := range []runtimeapi.NamespaceMode{runtimeapi.NamespaceMode_CONTAINER, runtimeapi.NamespaceMode_POD} {
		c := s.podConfig("pod-" + strings.ToLower(pid.String()))
		c.Linux.SecurityContext.NamespaceOptions.Pid = pid
		pod := s.sandbox(c)
		k := s.containerConfig("c", "sleep 4752 & exec sleep 4752")
		k.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: pid, Network: runtimeapi.NamespaceMode_NODE},
		}}
		id := s.container(pod, k)
		n.eventually("it runs", func() bool { return len(processes("sleep 4752")) == 2 })
		for range 2 {
			began := time.Now()
			_, err := s.execSync(id, tree, 2)
			if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took < 2*time.Second || took > 12*time.Second {
				t.Errorf("in %s after %s: %v", pid, took, err)
			}
			n.noProcess("sleep 4751")
		}
		if _, err := s.execSync(id, "yes", 1); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("in %s, without end: %v", pid, err)
		}
		n.noProcess("yes")
		// Children that outlive their parent are theirs who made them.
		if out, err := s.execSync(id, "setsid sleep 4753 >/dev/null 2>&1 & exit 4", 5); err != nil || out.ExitCode != 4 {
			t.Errorf("in %s, with a child that stays: %v, %v", pid, out, err)
		}
		if got := len(processes("sleep 4752")); got != 2 || len(processes("sleep 4753")) != 1 {
			t.Errorf("in %s: %d processes of the container are left", pid, got)
		}
		s.remove(pod)
		n.noProcess("sleep 4753")
	}
	n.noExecs()
	n.empty()
}

// manyExecs runs so many execs at a time, of which large write so much: each gets its
// own answer, cut to what an answer may be, and the server's memory is bounded.
func manyExecs(t *testing.T, many, large int, most int64) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	id := s.container(pod, s.containerConfig("c", "exec sleep 4752"))
	if _, err := s.execSync(id, "true", 0); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for i := range many {
		running.Go(func() {
			want := fmt.Sprintf("out %d\n", i)
			out, err := s.execSync(id, fmt.Sprintf("echo out %d; echo err %d >&2; exit %d", i, i, i%100), 600)
			if err != nil || string(out.Stdout) != want || string(out.Stderr) != "err"+want[3:] || out.ExitCode != int32(i%100) {
				t.Errorf("exec %d: %v, %v", i, out, err)
			}
		})
	}
	for i := range large {
		running.Go(func() {
			out, err := s.execSync(id, fmt.Sprintf("yes %d | head -c 30000000; exit 7", i), 600)
			begins := strings.Repeat(fmt.Sprintf("%d\n", i), 100)
			if err != nil || out.ExitCode != 7 || len(out.Stdout) < 256<<10 || len(out.Stdout) > 16_000_000 || !bytes.HasPrefix(out.Stdout, []byte(begins)) {
				t.Errorf("large exec %d: %d bytes, %v", i, len(out.GetStdout()), err)
			}
		})
	}
	running.Wait()
	if peak := peakMemory(t, s.PID()); peak > most {
		t.Errorf("the server needed %d bytes, more than %d", peak, most)
	}
	n.noExecs()
	s.remove(pod)
	n.empty()
}

// peakMemory is the most that a process had in memory.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	t.Logf("the server needed %d MiB", kb>>10)
	return kb << 10
}

// execsAtDeath has execs run, and begin, while their container dies: each ends, with
// a code or an error that says so, and nothing of it is left.
func execsAtDeath(t *testing.T, rounds int) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	for round := range rounds {
		id := s.container(pod, s.containerConfig(fmt.Sprint("c", round), "exec sleep 4752"))
		stop := make(chan struct{})
		var running sync.WaitGroup
		for i := range 6 {
			running.Go(func() {
				for {
					script := "true"
					if i < 2 {
						script = "sleep 4754"
					}
					out, err := s.execSync(id, script, 60)
					code := status.Code(err)
					if code != codes.OK && code != codes.FailedPrecondition && code != codes.NotFound {
						t.Errorf("exec %q: %v", script, err)
					}
					if err == nil && i < 2 && out.ExitCode == 0 {
						t.Errorf("exec %q ended well", script)
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		n.eventually("they run", func() bool { return len(processes("sleep 4754")) >= 2 })
		if round%2 == 0 {
			process, _ := n.pids(id)
			n.kill(fmt.Sprint(process))
		} else if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
			t.Error(err)
		}
		close(stop)
		n.within(20*time.Second, running.Wait)
		n.noProcess("sleep 4754")
		if st := s.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 137 {
			t.Errorf("the container is %s, code %d", st.State, st.ExitCode)
		}
	}
	n.noExecs()
	s.remove(pod)
	n.empty()
}
