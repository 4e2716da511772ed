//go:build faults || faultslong

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// under has davit start by way of a shell script, which ends in its execution, until
// the function that is returned is called. The monitors' exit commands do not.
func (n *node) under(script string) (again func()) {
	n.t.Helper()
	bin := n.Bin
	wrapper := filepath.Join(n.Roots.Dir, "under")
	text := "#!/bin/sh\n" + script + "\nexec " + bin + " \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(text), 0o700); err != nil {
		n.t.Fatal(err)
	}
	n.Bin = wrapper
	return func() { n.Bin = bin }
}

// denied is a script for under that has a system call fail, in davit and in all that
// it starts.
func (n *node) denied(call int, with syscall.Errno) string {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	return fmt.Sprintf("exec %s -test.run '^TestDeny$' -- %d %d %s \"$@\"", self, call, int(with), n.Bin)
}

// TestDeny is no test but a program: after "--" it is given the number of a system
// call, an error, and a command, which it becomes, with a filter that answers the
// call with the error (seccomp(2)).
func TestDeny(t *testing.T) {
	at := slices.Index(os.Args, "--")
	if at < 0 {
		t.Skip("part of other tests")
	}
	args := os.Args[at+1:]
	call, _ := strconv.Atoi(args[0])
	errno, _ := strconv.Atoi(args[1])
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: uint32(call)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if _, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); err != 0 {
		t.Fatal(err)
	}
	t.Fatal(unix.Exec(args[2], args[2:], os.Environ()))
}

// cgroup is a control group of one controller, for processes that a test starts.
type cgroup struct {
	t   *testing.T
	dir string
	v1  bool
}

// newCgroup makes a control group; it goes with the test, before the leak check.
func (n *node) newCgroup(controller string) cgroup {
	n.t.Helper()
	c := cgroup{n.t, "/sys/fs/cgroup/" + controller, true}
	if _, err := os.Stat(c.dir); err != nil {
		c.dir, c.v1 = "/sys/fs/cgroup", false
	}
	dir, err := os.MkdirTemp(c.dir, "fault-")
	if err != nil {
		n.t.Fatal(err)
	}
	c.dir = dir
	if !c.v1 {
		if _, err := os.Stat(filepath.Join(dir, controller+".max")); err != nil {
			_ = os.Remove(dir)
			n.t.Skipf("no cgroup controller %s", controller)
		}
	}
	n.t.Cleanup(func() {
		n.eventually("the test's cgroup is gone", func() bool { return removeCgroups(c.dir) == nil })
	})
	return c
}

// removeCgroups removes a control group with those below it.
func removeCgroups(dir string) error {
	below, _ := os.ReadDir(dir)
	for _, d := range below {
		if d.IsDir() {
			_ = removeCgroups(filepath.Join(dir, d.Name()))
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return err
	}
	return nil
}

// enter is a script for under that puts davit into the control group.
func (c cgroup) enter() string { return "echo $$ >" + filepath.Join(c.dir, "cgroup.procs") }

// add puts a running process into it.
func (c cgroup) add(pid int) { c.set("cgroup.procs", strconv.Itoa(pid)) }

// leave puts a process out of it, into the one above.
func (c cgroup) leave(pid int) { above := c; above.dir = filepath.Dir(c.dir); above.add(pid) }

func (c cgroup) set(file, value string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(value), 0); err != nil {
		c.t.Fatal(err)
	}
}

func (c cgroup) get(file string) string {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, file))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// memory limits the memory.
func (c cgroup) memory(bytes int) {
	c.t.Helper()
	if c.v1 {
		c.set("memory.limit_in_bytes", strconv.Itoa(bytes))
	} else {
		c.set("memory.max", strconv.Itoa(bytes))
	}
}

// used is how much memory it holds.
func (c cgroup) used() int {
	c.t.Helper()
	file := "memory.current"
	if c.v1 {
		file = "memory.usage_in_bytes"
	}
	v, _ := strconv.Atoi(c.get(file))
	return v
}
