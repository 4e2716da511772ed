package health

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/cgroup"
)

// lockFile in a pod's run folder is locked by its timer process. A change of its
// times has that one look at the containers anew.
const lockFile = "timer"

// LockFD is the descriptor on which a timer process inherits its lock.
const LockFD = 3

// Process says how the timer process of a pod is run.
type Process struct {
	// Dir is the pod's run folder.
	Dir string
	// Command is run with the lock as descriptor LockFD; it ends up in Run.
	Command []string
	// Placement puts the process into its cgroup.
	Placement cgroup.Placement
	// Known says that a process that runs knows already.
	Known bool
}

// Ensure has the timer process of a pod look at its containers anew: one that
// runs, else a new one, which goes on by itself when the caller has ended. What is
// to be done must be on record before. A pod without a run folder has nothing to
// be done.
func Ensure(p Process) error {
	f, err := lock(p.Dir)
	switch {
	case errors.Is(err, errLocked) && p.Known:
		return nil
	case errors.Is(err, errLocked):
		return Poke(p.Dir)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := spawn(p, f); err != nil {
		unlock(f)
		return fmt.Errorf("beginning a timer process: %w", err)
	}
	return f.Close() // the lock is the new process's
}

// Poke has the timer process of a pod look at its containers anew, if there is one.
func Poke(dir string) error {
	now := time.Now()
	err := os.Chtimes(filepath.Join(dir, lockFile), now, now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spawn starts a timer process that has the lock.
func spawn(p Process, f *os.File) error {
	// It outlives its caller, and none of the files that the caller was left.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	var cmd *exec.Cmd
	attr := &syscall.SysProcAttr{Setsid: true}
	err := p.Placement.Start(attr, func() error {
		cmd = exec.Command(p.Command[0], p.Command[1:]...)
		cmd.Dir = "/"
		cmd.ExtraFiles = []*os.File{f}
		cmd.SysProcAttr = attr
		return startUnblocked(cmd)
	})
	if err != nil {
		return err
	}
	// Where it cannot be moved it ends with its caller's session, as any process may:
	// the next one who comes begins another.
	_ = p.Placement.Move(cmd.Process.Pid)
	return cmd.Process.Release()
}

// startUnblocked starts a program with no signal blocked. A monitor blocks some for
// its exit command, and they would be blocked in containers that are started again.
func startUnblocked(cmd *exec.Cmd) error {
	runtime.LockOSThread() // the child's mask is its thread's
	defer runtime.UnlockOSThread()
	var none, before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, &before); err != nil {
		return fmt.Errorf("unblocking signals: %w", err)
	}
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	return cmd.Start()
}

// errLocked says that a pod has a timer process.
var errLocked = errors.New("locked")

// lock takes the lock of a pod without waiting: errLocked if another has it,
// fs.ErrNotExist if the pod has no run folder.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = errLocked
	case err == nil && removed(f):
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removed tells whether the file was removed, with the pod, before it was locked.
func removed(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}

// unlock frees the lock at once: a child that has been forked and has not called
// exec yet has a copy of the descriptor.
func unlock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	_ = f.Close()
}

// inherited is the lock that this process was begun with.
func inherited() (*os.File, error) {
	unix.CloseOnExec(LockFD)
	f := os.NewFile(LockFD, lockFile)
	if err := unix.Flock(LockFD, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("descriptor %d is no lock of a timer process: %w", LockFD, err)
	}
	return f, nil
}
