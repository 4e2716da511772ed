package oci

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A child that lives on, as a container does that was left to this process, is waited
// for once, however many execs fail; when it has ended it is reaped.
func TestStrayIsWaitedForOnce(t *testing.T) {
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	child, err := os.StartProcess(path, []string{path, "60"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	pid := child.Pid
	t.Cleanup(func() { _ = child.Kill() })
	own := 1 << 29 // of an exec under way
	a := &account{owned: map[int]bool{own: true}, awaited: map[int]bool{}, contained: func() []int { return []int{own, pid} }}
	before := runtime.NumGoroutine()
	for range 50 {
		a.begin()
		a.failed()
	}
	if n := runtime.NumGoroutine() - before; n > 10 { // some of other tests may have begun
		t.Errorf("%d goroutines wait for it, want 1", n)
	}
	if err := child.Kill(); err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.awaited) == 0
	}
	for begun := time.Now(); !gone(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("it is waited for still")
		}
	}
	if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("it was not reaped: %v", err)
	}
}

// What nobody owns is looked for when no runtime is about to leave a process.
func TestStraysAreLookedForLast(t *testing.T) {
	var looks []int
	a := &account{owned: map[int]bool{}, awaited: map[int]bool{}}
	a.contained = func() []int { looks = append(looks, a.starting); return nil }
	a.begin()
	a.begin()
	a.failed()
	a.started(1 << 29)
	a.begin()
	a.started(1 << 28)
	if !slices.Equal(looks, []int{0}) {
		t.Errorf("it looked while %v runtimes were at work", looks)
	}
}
