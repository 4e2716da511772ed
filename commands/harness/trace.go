package harness

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
	"time"
)

// Calls is what a program did, its whole tree of processes taken together.
type Calls struct {
	// Programs are what was executed, in order, by the base of its path. A
	// program that executes a copy of itself from memory, as the runtimes do
	// against CVE-2019-5736, is there as Copy.
	Programs []string
	Syncs    []string // the files that were synced, in order
	Opens    []string // the files that were opened, in order; one that is not there is none
	Commits  int      // transactions of nf_tables
}

// Copy stands in Calls for a program's copy of itself.
const Copy = "(copy of itself)"

// Below counts the syncs of files in a folder, those in its folder except apart.
func (c Calls) Below(dir, except string) int {
	n := 0
	for _, path := range c.Syncs {
		if strings.HasPrefix(path, dir+"/") && !strings.HasPrefix(path, filepath.Join(dir, except)+"/") {
			n++
		}
	}
	return n
}

// Trace runs cmd under strace, which ends when the last process of its tree
// does: a monitor and its exit command are in it. The program is slowed down
// much, so its time means nothing. An exit code other than 0 is an error.
func Trace(ctx context.Context, cmd *exec.Cmd) (Calls, error) {
	log, err := traceLog()
	if err != nil {
		return Calls{}, err
	}
	defer os.Remove(log)
	traced := exec.CommandContext(ctx, "strace", append(traceArgs(log, "--", cmd.Path), cmd.Args[1:]...)...)
	traced.Env, traced.Dir = cmd.Env, cmd.Dir
	r, err := Capture(traced)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", r.Code, strings.TrimSpace(r.Stderr))
	}
	data, readErr := os.ReadFile(log)
	if err = errors.Join(err, readErr); err != nil {
		return Calls{}, fmt.Errorf("tracing %s: %w", filepath.Base(cmd.Path), err)
	}
	return parseTrace(string(data)), nil
}

// TraceWhile traces the running process pid, and what it starts, while f runs, as
// Trace does. What it has started before is not seen.
func TraceWhile(ctx context.Context, pid int, f func()) (Calls, error) {
	log, err := traceLog()
	if err != nil {
		return Calls{}, err
	}
	defer os.Remove(log)
	var said strings.Builder
	strace := exec.CommandContext(ctx, "strace", traceArgs(log, "-p", strconv.Itoa(pid))...)
	strace.Stderr = &said
	if err := strace.Start(); err != nil {
		return Calls{}, fmt.Errorf("tracing process %d: %w", pid, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- strace.Wait() }()
	for !traced(pid, strace.Process.Pid) {
		select {
		case err := <-ended:
			return Calls{}, fmt.Errorf("tracing process %d: %w: %s", pid, err, strings.TrimSpace(said.String()))
		case <-time.After(5 * time.Millisecond):
		}
	}
	f()
	err = strace.Process.Signal(syscall.SIGINT) // it lets all go
	<-ended
	data, readErr := os.ReadFile(log)
	if err = errors.Join(err, readErr); err != nil {
		return Calls{}, fmt.Errorf("tracing process %d: %w", pid, err)
	}
	return parseTrace(string(data)), nil
}

// traced says whether all threads of a process have a tracer.
func traced(pid, tracer int) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range tasks {
		data, _ := os.ReadFile(path)
		if !strings.Contains(string(data), fmt.Sprintf("\nTracerPid:\t%d\n", tracer)) {
			return false
		}
	}
	return err == nil && len(tasks) > 0
}

func traceLog() (string, error) {
	log, err := os.CreateTemp("", "davit-strace-")
	if err != nil {
		return "", fmt.Errorf("making strace's output: %w", err)
	}
	return log.Name(), log.Close()
}

func traceArgs(log string, what ...string) []string {
	return append([]string{"-f", "-qq", "-y", "-s", "200", "-e", "signal=none",
		"-e", "trace=execve,execveat,open,openat,openat2,fsync,fdatasync,sync,syncfs,sync_file_range,sendmsg", "-o", log}, what...)
}

// parseTrace reads strace's output. A call that another process interrupts
// takes two lines; the first has the arguments, the second the outcome.
func parseTrace(text string) Calls {
	line := regexp.MustCompile(`^(\d+) +(?:<\.\.\. )?(\w+)(?:\((.*?)| resumed>.*?)(?: <unfinished \.\.\.>| = (-?\d+)(?:<(.*)>)?.*)?$`)
	program := regexp.MustCompile(`"([^"]*)"`)
	file := regexp.MustCompile(`<([^>]*)>`)
	pending := map[string]string{}
	var c Calls
	for l := range strings.Lines(text) {
		m := line.FindStringSubmatch(strings.TrimRight(l, "\n"))
		if m == nil {
			continue
		}
		pid, call, arguments, outcome := m[1], m[2], m[3], m[4]
		if strings.HasSuffix(strings.TrimSpace(l), "<unfinished ...>") {
			pending[pid+call] = arguments
			continue
		}
		if arguments == "" {
			arguments = pending[pid+call]
		}
		switch {
		case call == "sendmsg":
			if strings.Contains(arguments, "NFNL_MSG_BATCH_BEGIN") {
				c.Commits++
			}
		case strings.HasPrefix(call, "open"):
			if !strings.HasPrefix(outcome, "-") {
				c.Opens = append(c.Opens, m[5])
			}
		case outcome != "0":
		case strings.HasPrefix(call, "execve"):
			name := Copy
			if p := program.FindStringSubmatch(arguments); p != nil && p[1] != "" {
				name = filepath.Base(p[1])
			}
			c.Programs = append(c.Programs, name)
		default:
			name := call // sync() has no file
			if p := file.FindStringSubmatch(arguments); p != nil {
				name = p[1]
			}
			c.Syncs = append(c.Syncs, name)
		}
	}
	return c
}
