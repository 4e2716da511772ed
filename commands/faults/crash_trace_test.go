//go:build (faults || faultslong) && amd64

package faults

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// The environment of a test binary that is a tracer: the program that it runs, the
// number of the call at which it kills, the file that it writes calls to, and whether
// those count that change no more than a file.
const (
	traceProgram = "FAULTS_TRACE_PROGRAM"
	traceKill    = "FAULTS_TRACE_KILL"
	traceLog     = "FAULTS_TRACE_LOG"
	traceFine    = "FAULTS_TRACE_FINE"
)

// TestMain is also a tracer, which runs a program and kills whichever process of
// its tree makes the nth of the calls that are side effects. It counts over all
// threads and processes, which strace's injection does not: that counts each
// thread's for itself, and threads of Go take each other's place.
func TestMain(m *testing.M) {
	if os.Getenv(traceProgram) == "" {
		os.Exit(m.Run())
	}
	t, err := newTracer()
	code := 125
	if err == nil {
		code, err = t.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tracer:", err)
	}
	if code > 128 { // it ends as its program did
		_ = unix.Kill(os.Getpid(), unix.Signal(code-128))
	}
	os.Exit(code)
}

// tracer runs a program.
type tracer struct {
	log     *os.File
	kill    int
	calls   int
	known   map[int]bool // threads that have been seen
	born    map[int]bool // those that were made, and have not stopped for the first time
	effects map[uint64]effect
}

func newTracer() (*tracer, error) {
	n, err := strconv.Atoi(os.Getenv(traceKill))
	if err != nil {
		return nil, err
	}
	log, err := os.Create(os.Getenv(traceLog))
	counted := effects()
	if os.Getenv(traceFine) != "" {
		maps.Copy(counted, fineEffects())
	}
	return &tracer{log: log, kill: n, known: map[int]bool{}, born: map[int]bool{}, effects: counted}, err
}

// run runs the program to its end. What it leaves running is traced no more: that is
// let go only when it has stopped for its tracer, and not for good.
func (t *tracer) run() (code int, err error) {
	runtime.LockOSThread() // a tracer is a thread
	cmd := exec.Command(os.Getenv(traceProgram), os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "FAULTS_TRACE_") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 125, err
	}
	main := cmd.Process.Pid
	var ws unix.WaitStatus
	if _, err := unix.Wait4(main, &ws, unix.WALL, nil); err != nil {
		return 125, err
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
	if err := unix.PtraceSetOptions(main, options); err != nil {
		return 125, err
	}
	t.known[main] = true
	_ = unix.PtraceSyscall(main, 0)
	for ended, options := false, unix.WALL; ; {
		tid, err := unix.Wait4(-1, &ws, options, nil)
		switch {
		case err == unix.EINTR:
		case ended && (err == unix.ECHILD || err == nil && tid == 0 && len(t.born) == 0):
			return code, nil
		case err != nil:
			return 125, err
		case tid == 0: // one that was made is about to stop, or has gone before its maker told
			time.Sleep(time.Millisecond)
			maps.DeleteFunc(t.born, func(tid int, _ bool) bool { return unix.Kill(tid, 0) != nil })
		case ws.Stopped():
			_ = unix.PtraceSyscall(tid, t.stopped(tid, ws)) // it may have been killed
		case tid == main:
			if code = ws.ExitStatus(); !ws.Exited() {
				code = 128 + int(ws.Signal())
			}
			ended, options = true, unix.WALL|unix.WNOHANG
			delete(t.born, tid)
		default:
			delete(t.known, tid)
			delete(t.born, tid)
		}
	}
}

// stopped looks at why a thread has stopped, and returns the signal that it goes
// on with.
func (t *tracer) stopped(tid int, ws unix.WaitStatus) int {
	sig := ws.StopSignal()
	switch {
	case sig == unix.SIGTRAP|0x80:
		t.call(tid)
		return 0
	case sig == unix.SIGTRAP && ws.TrapCause() > 0: // it has cloned, or executed
		if child, err := unix.PtraceGetEventMsg(tid); ws.TrapCause() != unix.PTRACE_EVENT_EXEC && err == nil && !t.known[int(child)] {
			t.born[int(child)] = true
		}
		return 0
	case sig == unix.SIGSTOP && !t.known[tid]: // it is new
		t.known[tid] = true
		delete(t.born, tid)
		return 0
	}
	return int(sig)
}

// callInfo is what PTRACE_GET_SYSCALL_INFO says.
type callInfo struct {
	op     uint8
	_      [3]byte
	_      uint32
	_, _   uint64
	number uint64
	args   [6]uint64
	_      [32]byte
}

// call counts a call that a thread is about to make.
func (t *tracer) call(tid int) {
	const getSyscallInfo, entry = 0x420e, 1
	var info callInfo
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 || info.op != entry {
		return
	}
	e, ok := t.effects[info.number]
	if !ok {
		return
	}
	object, changes := e.on(tid, info.args)
	if !changes {
		return
	}
	t.calls++
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", tid))
	fmt.Fprintf(t.log, "%d %s %s %s\n", t.calls, e.name, filepath.Base(program), object)
	if t.calls == t.kill {
		_ = unix.Kill(group(tid), unix.SIGKILL)
	}
}

// group is the process that a thread is of.
func group(tid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	_, rest, _ := strings.Cut(string(status), "\nTgid:\t")
	pid, err := strconv.Atoi(strings.SplitN(rest, "\n", 2)[0])
	if err != nil {
		return tid
	}
	return pid
}

// tracing is the tracer's program, and the environment by which it runs another and
// kills at the nth call, 0 for never; and the file with the calls.
func (r *rig) tracing(program string, n int) (self string, env []string, log string) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.logs++
	log = filepath.Join(r.Roots.Dir, fmt.Sprintf("calls-%d", r.logs))
	return self, []string{traceProgram + "=" + program, traceKill + "=" + strconv.Itoa(n), traceLog + "=" + log}, log
}

// traced is the davit that runs under a tracer, see tracing.
func (r *rig) traced(n int) (d harness.Davit, log string) {
	r.t.Helper()
	self, env, log := r.tracing(r.Bin, n)
	d = r.Davit
	d.Bin, d.Env = self, slices.Concat(d.Env, env)
	return d, log
}

// calls reads a tracer's file: a line each.
func (r *rig) calls(log string) []string {
	r.t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// killedAtCalls is the test of one operation: every nth of its calls is not made,
// and whoever was to make it is killed. traced is as rig.traced, whose calls those are.
func (r *rig) killedAtCalls(o operation, traced func(n int) (harness.Davit, string), nth, from int) {
	r.t.Helper()
	o.ready(r)
	d, log := traced(0)
	if err := o.do(r, d); err != nil {
		r.t.Fatalf("undisturbed: %v", err)
	}
	r.quiet(o)
	r.blame("undisturbed")
	all, kills := len(r.calls(log)), 0
	// There may be some more the next time.
	for n := from; n <= all+nth; n += nth {
		o.ready(r)
		d, log := traced(n)
		err := o.do(r, d)
		calls := r.calls(log)
		o.repeat(r)
		r.agrees()
		r.quiet(o)
		if len(calls) < n {
			continue
		}
		kills++
		if r.blame("killed at call " + calls[n-1]) {
			r.t.Logf("it said: %v", err)
		}
	}
	r.t.Logf("%d calls, %d kills", all, kills)
}
