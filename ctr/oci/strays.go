package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A process that is a subreaper inherits, from a runtime whose exec failed, the
// stages of the runtime's init that were in the container's PID namespace
// already. Unreaped they keep that namespace's init from ending, and every
// delete waits for it (pid_namespaces(7)). Children belong to the whole
// process, and so does the account of those that an Exec will reap itself.
var children = sync.OnceValue(func() *account {
	return &account{owned: map[int]bool{}, awaited: map[int]bool{}, contained: func() []int { return contained(os.Getpid()) }}
})

// account tells strays from the processes of execs under way.
type account struct {
	mu sync.Mutex
	// starting counts the runtimes whose process is not in owned yet.
	starting int
	owned    map[int]bool
	// pending says that an exec failed and may have left strays.
	pending bool
	// awaited are those that are to be reaped when they have died. A container whose
	// monitor died is one, and lives on.
	awaited   map[int]bool
	contained func() []int // lists children in PID namespaces below this process's
}

// begin is called before a runtime is started.
func (a *account) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.starting++
}

// started is called when the runtime has left the process pid, which the caller
// reaps.
func (a *account) started(pid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owned[pid] = true
	a.starting--
	a.sweep()
}

// failed is called when the runtime has left none.
func (a *account) failed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.starting--
	a.pending = true
	a.sweep()
}

// reaped is called when a process that was started has been reaped.
func (a *account) reaped(pid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.owned, pid)
}

// sweep reaps what nobody owns, once no runtime is about to leave a process.
func (a *account) sweep() {
	if !a.pending || a.starting > 0 {
		return
	}
	a.pending = false
	for _, pid := range a.contained() {
		if a.owned[pid] || a.awaited[pid] {
			continue
		}
		a.awaited[pid] = true
		go a.await(pid)
	}
}

// await reaps a child, which may have to die first.
func (a *account) await(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.awaited, pid)
}

// Owned tells whether a child of this process is that of an Exec, which reaps it.
func Owned(pid int) bool {
	a := children()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owned[pid]
}

// contained lists the children of a process that live in a PID namespace below
// its own.
func contained(parent int) []int {
	dir := "/proc/" + strconv.Itoa(parent)
	tasks, err := os.ReadDir(dir + "/task")
	if err != nil {
		return nil
	}
	var pids []int
	for _, t := range tasks {
		data, err := os.ReadFile(dir + "/task/" + t.Name() + "/children")
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(f)
			if err == nil && nested(pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// nested tells whether a process has a pid in a further namespace.
func nested(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(data), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	return ok && len(strings.Fields(line)) > 1
}

// BecomeSubreaper makes this process a child subreaper (prctl(2)): what its
// descendants leave behind is its to reap. It may be repeated.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming a subreaper: %w", err)
	}
	return nil
}
