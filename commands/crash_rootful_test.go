//go:build rootful

package commands_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// A davit that is killed at any moment of a run leaves nothing that the next
// changing command does not clear: no record, name, mount, namespace, address,
// cgroup or process. TestRoots checks for leaks when the test ends.
func TestKilledAnywhereLeavesNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{
		{name: "no network", args: []string{"--network", "none"}},
		{name: "bridge and port", args: []string{"-p", "127.0.0.1::80"}},
		{name: "kept", args: []string{"--network", "none", "--rm=false"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, image := busyboxDavit(t)
			run := append(append([]string{"run", "--rm"}, tt.args...), image, "sleep", "0.02")
			for after := 3 * time.Millisecond; after < 300*time.Millisecond; after += 11 * time.Millisecond {
				kill(t, d, after, run)
			}
			// One command clears what is dead; a container that was kept, and whole,
			// is there to be removed.
			must(t, d, "run", "--rm", "--network", "none", image, "true")
			settled(t, d)
		})
	}
}

// The same for the ways out: whatever a killed stop, rm or pod rm has left,
// repeating it succeeds.
func TestKilledRemovalCanBeRepeated(t *testing.T) {
	d, image := busyboxDavit(t)
	for after := 2 * time.Millisecond; after < 120*time.Millisecond; after += 13 * time.Millisecond {
		id := must(t, d, "run", "-d", "-p", "127.0.0.1::80", image, "sleep", "100").Line()
		kill(t, d, after, []string{"rm", "--force", id})
		if r := try(t, d, "rm", "--force", "--ignore", id); r.Code != 0 {
			t.Fatalf("rm after one killed at %s: exit code %d\n%s", after, r.Code, r.Stderr)
		}
		pod := must(t, d, "pod", "create", "--share", "net,ipc,uts,pid").Line()
		must(t, d, "run", "-d", "--pod", pod, image, "sleep", "100")
		kill(t, d, after, []string{"pod", "rm", "--force", pod})
		if r := try(t, d, "pod", "rm", "--force", "--ignore", pod); r.Code != 0 {
			t.Fatalf("pod rm after one killed at %s: exit code %d\n%s", after, r.Code, r.Stderr)
		}
	}
	settled(t, d)
}

// A container that removes itself does so when nobody is there any more: the
// foreground davit is killed, then the container ends.
func TestF8RemovesItselfWithoutItsClient(t *testing.T) {
	d, image := busyboxDavit(t)
	kill(t, d, 700*time.Millisecond, []string{"run", "--rm", "--name", "alone", image, "sleep", "2"})
	if got := must(t, d, "ps", "-q").Line(); got == "" {
		t.Fatal("the container died with its client")
	}
	settled(t, d)
}

// A container may be started again the moment its exit is known, before its exit
// command has given back what the last run held.
func TestStartsAgainAtOnce(t *testing.T) {
	d, image := busyboxDavit(t)
	must(t, d, "run", "-d", "--name", "again", image, "sh", "-c", "exit 0")
	for range 12 {
		must(t, d, "wait", "again")
		must(t, d, "start", "again")
	}
	must(t, d, "wait", "again")
	settled(t, d)
}

// busyboxDavit is a davit on roots of its own, with an image.
func busyboxDavit(t *testing.T) (harness.Davit, string) {
	t.Helper()
	d := harness.TestDavit(t)
	reg := harness.TestRegistry(t, harness.RegistryConfig{})
	image, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.Push(t.Context(), "busybox:latest", image); err != nil {
		t.Fatal(err)
	}
	if err := d.Roots.TrustRegistry(reg.Addr); err != nil {
		t.Fatal(err)
	}
	ref := reg.Ref("busybox:latest")
	must(t, d, "pull", "-q", ref)
	// The first container makes the bridge, which stays.
	must(t, d, "run", "--rm", ref, "true")
	return d, ref
}

// settled removes the containers that are whole and waits for those that remove
// themselves.
func settled(t *testing.T, d harness.Davit) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if try(t, d, "rm", "--force", "--all").Code == 0 && must(t, d, "ps", "-aq").Line() == "" && must(t, d, "pod", "ps", "-q").Line() == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left:\n%s%s", must(t, d, "ps", "-a").Stdout, must(t, d, "pod", "ps").Stdout)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// kill runs davit and kills it after a while.
func kill(t *testing.T, d harness.Davit, after time.Duration, args []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := d.Command(ctx, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

func try(t *testing.T, d harness.Davit, args ...string) harness.Result {
	t.Helper()
	r, err := d.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must(t *testing.T, d harness.Davit, args ...string) harness.Result {
	t.Helper()
	r := try(t, d, args...)
	if r.Code != 0 {
		t.Fatal(fmt.Errorf("davit %v: exit code %d\n%s", args, r.Code, r.Stderr))
	}
	return r
}
