//go:build faults

package faults

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// holder is a process that has a lock, and is stopped.
type holder struct {
	n   *node
	cmd *exec.Cmd
}

// halt stops a process once held says that it has its lock.
func (n *node) halt(cmd *exec.Cmd, held func() bool) *holder {
	n.t.Helper()
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	h := &holder{n: n, cmd: cmd}
	n.t.Cleanup(h.kill)
	n.eventually("the lock is taken", held)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		n.t.Fatal(err)
	}
	return h
}

// kill kills the holder, or finds that this has been done.
func (h *holder) kill() {
	if h.cmd.ProcessState == nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
	}
}

// says is what is said to those who wait for the holder.
func (h *holder) says() string {
	return fmt.Sprintf(`process %d\b.*stopped[\s\S]*Hint: kill -CONT %[1]d\b.* kill -KILL %[1]d\b`, h.cmd.Process.Pid)
}

// flocked is a process that has the flock on a file, or on a folder.
func (n *node) flocked(path string) *holder {
	n.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(n.t.Context()), "flock", path, "cat")
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = in.Close() })
	return n.halt(cmd, func() bool { // cat repeats what it is told once the lock is there
		_, err := io.WriteString(in, "x")
		if err == nil {
			_, err = out.Read(make([]byte, 1))
		}
		return err == nil
	})
}

// A command that has a container's lock is stopped, by a ^Z perhaps. Whoever needs
// the lock gives up in time and says which process it is, and how to go on; nobody
// else waits. Killed, it frees the lock, and what it had begun is settled.
func TestF48HolderStopped(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("kept"))
	kube := s.container(pod, s.containerConfig("c", "echo up; trap '' TERM; while :; do sleep 1; done"))
	n.must("run", "-d", "--name", "web", n.image, "sh", "-c", "echo up; trap '' TERM; while :; do sleep 1; done")
	n.must("run", "-d", "--name", "other", n.image, "sleep", "1000")
	var holders []*holder
	for _, id := range []string{n.must("inspect", "--format", "{{.Id}}", "web").Line(), kube} {
		holders = append(holders, n.halt(n.Command(context.WithoutCancel(t.Context()), "stop", "--force", "-t", "1000", id), func() bool {
			return n.opKind("containers", id) == "stop"
		}))
	}
	n.within(10*time.Second, func() {
		for _, read := range [][]string{{"ps", "-a"}, {"inspect", "web"}, {"logs", "web"}, {"pod", "ps"}, {"system", "check"}, {"exec", "web", "true"}} {
			n.try(read...)
		}
		if _, err := s.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{}); err != nil {
			t.Error(err)
		}
		s.status(kube)
	})
	var g sync.WaitGroup
	for _, args := range [][]string{{"stop", "-t", "0", "web"}, {"restart", "-t", "0", "web"}, {"pause", "web"}, {"rm", "--force", "-t", "0", "web"}} {
		g.Go(func() {
			r := n.try(args...)
			if r.Code != 125 || !regexp.MustCompile(holders[0].says()).MatchString(r.Stderr) || r.Took > 40*time.Second {
				t.Errorf("davit %v: exit code %d in %s, want 125 and a text that matches %q:\n%s", args, r.Code, r.Took, holders[0].says(), r.Stderr)
			}
		})
	}
	for what, call := range map[string]func() error{
		"StopContainer": func() error {
			_, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: kube})
			return err
		},
		"RemoveContainer": func() error {
			_, err := s.RemoveContainer(t.Context(), &runtimeapi.RemoveContainerRequest{ContainerId: kube})
			return err
		},
	} {
		g.Go(func() {
			err := call()
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), fmt.Sprintf("process %d", holders[1].cmd.Process.Pid)) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	n.must("run", "--rm", n.image, "true")
	n.must("stop", "-t", "0", "other")
	n.must("start", "other")
	g.Wait()
	for _, h := range holders {
		h.kill()
	}
	n.within(10*time.Second, func() { n.must("rm", "--force", "--ignore", "-t", "0", "web") })
	s.remove(pod)
	n.empty()
}

// The locks that are no object's: of the networks, of a status, of a volume.
func TestF48SharedLocks(t *testing.T) {
	n := newNode(t, "")
	n.must("run", "-d", "--name", "web", n.image, "sleep", "1000")
	n.must("volume", "create", "data")
	for what, l := range map[string]struct {
		path string
		args []string
	}{
		"networks": {filepath.Join(n.Roots.RunRoot, "networks", "lock"), []string{"network", "create", "net1"}},
		"status":   {filepath.Join(n.Roots.RunRoot, "containers", n.must("inspect", "--format", "{{.Id}}", "web").Line()), []string{"pause", "web"}},
		"volume":   {filepath.Join(n.Roots.Root, "volumes", "data"), []string{"volume", "rm", "data"}},
	} {
		t.Run(what, func(t *testing.T) {
			h := n.flocked(l.path)
			n.within(3*time.Second, func() { n.must("ps", "-a"); n.must("inspect", "web") })
			n.within(20*time.Second, func() { n.fails(125, h.says(), l.args...) })
			h.kill()
			n.within(10*time.Second, func() { n.must(l.args...) })
		})
	}
	n.must("network", "rm", "net1")
	n.empty()
}

// A pull that is stopped holds up those that want the same image, no others.
func TestF48PullStopped(t *testing.T) {
	n := newNode(t, "")
	if err := n.registry.Push(t.Context(), "other:1", bigImage(t, 1, 1, 1000)); err != nil {
		t.Fatal(err)
	}
	n.must("rmi", "--force", n.image)
	locks := filepath.Join(n.Roots.RunRoot, "storage", "davit-pull", "*.lock")
	p := n.newProxy()
	open := p.stall("/blobs/")
	defer open()
	h := n.halt(n.Command(context.WithoutCancel(t.Context()), "pull", "-q", p.ref("busybox:latest")), func() bool {
		found, _ := filepath.Glob(locks)
		return len(found) > 0 && p.count("/blobs/") > 0
	})
	n.within(20*time.Second, func() { n.fails(125, h.says(), "pull", "-q", p.ref("busybox:latest")) })
	n.must("pull", "-q", n.registry.Ref("other:1"))
	h.kill()
	open()
	n.within(20*time.Second, func() { n.must("pull", "-q", p.ref("busybox:latest")) })
	n.check()
}
