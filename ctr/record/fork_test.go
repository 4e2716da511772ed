package record

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// forkRole takes a flock, makes a fork of itself that waits for ever, and ends.
func forkRole(args []string) error {
	f, err := os.Open(args[0])
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return err
	}
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	switch {
	case errno != 0:
		return errno
	case pid == 0:
		for {
			_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	fmt.Println(pid)
	os.Exit(0)
	return nil
}

// A process that is killed while it has a fork of itself does not keep its locks: who
// waits for one ends the fork.
func TestForkKeepsLock(t *testing.T) {
	t.Parallel()
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "op", "op")
	create(t, d, "turns", "turns")
	file := filepath.Join(t.TempDir(), "lock")
	must(t, os.WriteFile(file, nil, 0o600))
	for what, l := range map[string]struct {
		path string
		take func() error
	}{
		"a file": {file, func() error {
			f, err := os.Open(file)
			must(t, err)
			defer f.Close()
			return Lock(f, "it")
		}},
		"an operation": {d.l.opPath("op"), func() error {
			op, err := d.Begin(t.Context(), "op", "rm")
			if err != nil {
				return err
			}
			return op.End()
		}},
		"turns": {d.l.opPath("turns"), func() error {
			op, err := d.BeginInTurns(t.Context(), "turns", "rm", func(Holder) error { return nil })
			if err != nil {
				return err
			}
			return op.End()
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], l.path)
			cmd.Env = append(os.Environ(), roleEnv+"=fork")
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n') // the fork has it open, too
			must(t, err)
			must(t, cmd.Wait())
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			must(t, err)
			fork, err := ProcessOf(pid)
			must(t, err)
			defer func() {
				if fork.Is() {
					_ = unix.Kill(fork.Pid, unix.SIGKILL)
				}
			}()
			taken := make(chan error, 1)
			go func() { taken <- l.take() }()
			select {
			case err := <-taken:
				must(t, err)
			case <-time.After(20 * time.Second):
				t.Fatal("it is locked for ever")
			}
			if fork.Alive() {
				t.Error("the fork is alive")
			}
		})
	}
}
