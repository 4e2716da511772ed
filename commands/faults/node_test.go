//go:build faults || faultslong

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// node is a davit on roots of its own, with a registry and an image. The leak
// check (L0) runs when the test ends.
type node struct {
	harness.Davit
	t        *testing.T
	registry *harness.Registry
	image    string // busybox, pulled
}

// newNode makes a node. extra is appended to davit's configuration.
func newNode(t *testing.T, extra string) *node {
	t.Helper()
	return newNodeOn(t, nil, extra)
}

// newNodeOn is newNode on file systems that prepare mounts below its roots.
func newNodeOn(t *testing.T, prepare func(harness.Roots) error, extra string) *node {
	t.Helper()
	n := &node{Davit: harness.TestDavitOn(t, prepare), t: t}
	n.registry = harness.TestRegistry(t, harness.RegistryConfig{})
	image, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	if err == nil {
		err = n.registry.Push(t.Context(), "busybox:latest", image)
	}
	err = errors.Join(err, n.Roots.TrustRegistry(n.registry.Addr), n.Roots.Configure(extra))
	if err != nil {
		t.Fatal(err)
	}
	n.image = n.registry.Ref("busybox:latest")
	n.must("pull", "-q", n.image)
	// The first container makes the built-in network's bridge, which stays.
	n.must("run", "--rm", n.image, "true")
	return n
}

// endless is how long a davit, or a call of a server, may take that has no time of its
// own: then it hangs, and the test fails.
const endless = 2 * time.Minute

// try runs davit to its end.
func (n *node) try(args ...string) harness.Result {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), endless)
	defer cancel()
	r, err := n.Run(ctx, args...)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		n.t.Fatalf("davit %s has not ended in %s, and was killed\n%s%s", strings.Join(args, " "), endless, r.Stdout, r.Stderr)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// must runs davit, which succeeds.
func (n *node) must(args ...string) harness.Result {
	n.t.Helper()
	r := n.try(args...)
	if r.Code != 0 {
		n.t.Fatalf("davit %s: exit code %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r
}

// fails runs davit, which fails with this code and says something that matches.
func (n *node) fails(code int, says string, args ...string) harness.Result {
	n.t.Helper()
	r := n.try(args...)
	if r.Code != code || !regexp.MustCompile(says).MatchString(r.Stderr) {
		n.t.Fatalf("davit %s: exit code %d, want %d and a text that matches %q:\n%s", strings.Join(args, " "), r.Code, code, says, r.Stderr)
	}
	return r
}

// killed runs davit and kills it after a while, by SIGKILL.
func (n *node) killed(after time.Duration, args ...string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	cmd := n.Command(ctx, args...)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(after)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
}

// eventually waits until ok, which looks at something that another process does
// and cannot be waited for.
func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("not in 20 s: %s", what)
		}
	}
}

// check is the oracle S0 that davit tells itself: nothing disagrees.
func (n *node) check() {
	n.t.Helper()
	if r := n.try("system", "check"); r.Code != 0 {
		n.t.Errorf("davit system check: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// empty removes all containers and pods, and checks that nothing is listed.
func (n *node) empty() {
	n.t.Helper()
	n.eventually("everything is removed", func() bool {
		return n.try("rm", "--force", "--all", "-t", "0").Code == 0 && n.try("pod", "rm", "--force", "--all", "-t", "0").Code == 0 &&
			n.must("ps", "-aq").Line() == "" && n.must("pod", "ps", "-aq").Line() == ""
	})
	n.check()
}

// within holds f to a time.
func (n *node) within(most time.Duration, f func()) {
	n.t.Helper()
	began := time.Now()
	f()
	if took := time.Since(began); took > most {
		n.t.Errorf("took %s, more than %s", took, most)
	}
}

// noProcess waits until no process has a command line that ends so.
func (n *node) noProcess(command string) {
	n.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids := processes(command)
		if len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, pid := range pids {
				status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				n.t.Logf("%s", status)
			}
			n.t.Fatalf("processes %v run %s", pids, command)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// processes are those whose command line ends so.
func processes(command string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		data, _ := os.ReadFile(f)
		line := strings.TrimRight(strings.ReplaceAll(string(data), "\x00", " "), " ")
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && line != "" && strings.HasSuffix(line, command) {
			pids = append(pids, pid)
		}
	}
	return pids
}
