//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// The foreground run of a container is killed, in each way that one can be attached
// to it. The container goes on, also one that has much to say, its exit code is kept,
// and one that is to remove itself does.
func TestF8ClientKilled(t *testing.T) {
	n := newNode(t, "")
	for name, flags := range map[string][]string{"output": nil, "input": {"-i"}, "terminal": {"-i", "-t"}} {
		for _, rm := range []bool{false, true} {
			dir := t.TempDir()
			args := append([]string{"run", "--name", name, "-v", dir + ":/shared"}, flags...)
			if rm {
				args = append(args, "--rm")
			}
			// It says more than the pipes hold, after its client has gone.
			cmd := n.Command(context.WithoutCancel(t.Context()), append(args, n.image, "sh", "-c",
				"echo up; read x </shared/go; yes 0123456789abcdef | head -c 3000000; echo later; read x </shared/go; exit 7")...)
			fifo := filepath.Join(dir, "go")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			out := n.attached(cmd, name == "terminal")
			if !strings.Contains(out(), "up") {
				t.Fatalf("%s: it does not begin", name)
			}
			id := n.must("inspect", "--format", "{{.Id}}", name).Line()
			process, monitor := n.pids(name)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			n.say(fifo)
			n.eventually("its output goes on", func() bool { return strings.Contains(n.must("logs", "--tail", "1", name).Stdout, "later") })
			if p, m := n.pids(name); p != process || m != monitor {
				t.Errorf("%s: processes were %d and %d, are %d and %d", name, process, monitor, p, m)
			}
			n.must("exec", name, "true")
			n.say(fifo)
			n.check() // while its exit command waits, or after that
			if rm {
				n.eventually("it has removed itself", func() bool {
					return n.must("ps", "-aq").Line() == "" && n.must("pod", "ps", "-q").Line() == ""
				})
				for _, root := range []string{n.Roots.Root, n.Roots.RunRoot} {
					if left, _ := filepath.Glob(filepath.Join(root, "*", id+"*")); len(left) > 0 {
						t.Errorf("%s: left %q", name, left)
					}
				}
				continue
			}
			if got := n.must("wait", name).Line(); got != "7" {
				t.Errorf("%s: wait says %q", name, got)
			}
			n.must("start", name)
			n.must("rm", "--force", "-t", "0", name)
		}
	}
	n.empty()
}

// The foreground run of a container that has ended is killed while it clears up: what
// it leaves is done by the exit command, which has waited for it, and nobody else.
func TestF8KilledWhileClearingUp(t *testing.T) {
	w := newWrapper(t)
	n := newNode(t, w.config())
	for _, rm := range []bool{true, false} {
		reached := w.path + ".reached"
		w.tell("delete", fmt.Sprintf("rm $0.delete; echo >%s; exec sleep 60", reached))
		args := []string{"run", "--name", "short"}
		if rm {
			args = append(args, "--rm")
		}
		cmd := n.Command(context.WithoutCancel(t.Context()), append(args, n.image, "sh", "-c", "exit 7")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		n.eventually("it clears up", func() bool { _, err := os.Stat(reached); return err == nil })
		id := n.must("inspect", "--format", "{{.Id}}", "short").Line()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		n.eventually("it is cleared up", func() bool {
			folders, _ := filepath.Glob(filepath.Join(n.Roots.RunRoot, "*", id, "*"))
			folders = slices.DeleteFunc(folders, func(f string) bool { return !rm && filepath.Base(f) != "bundle" && filepath.Base(f) != "ns" })
			return len(folders) == 0
		})
		if left := n.must("ps", "-aq").Line(); (left == "") != rm {
			t.Errorf("--rm=%v: %q is listed", rm, left)
		}
		if !rm {
			if code := n.must("wait", "short").Line(); code != "7" {
				t.Errorf("wait says %q", code)
			}
		}
		if err := os.Remove(reached); err != nil {
			t.Fatal(err)
		}
	}
	n.empty()
}

// attached starts a command with pipes or a terminal, and returns what reads the
// first of what it prints.
func (n *node) attached(cmd *exec.Cmd, tty bool) func() string {
	n.t.Helper()
	var out io.Reader
	if tty {
		screen, terminal, err := harness.OpenPTY(24, 80)
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { _, _ = screen.Close(), terminal.Close() })
		cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		out = screen
	} else {
		in, err := cmd.StdinPipe()
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { _ = in.Close() })
		if out, err = cmd.StdoutPipe(); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	return func() string {
		buf := make([]byte, 100)
		read, err := io.ReadAtLeast(out, buf, 2)
		if err != nil {
			n.t.Fatal(err)
		}
		return string(buf[:read])
	}
}

// say writes a line into a fifo that a container reads from, once it does.
func (n *node) say(fifo string) {
	n.t.Helper()
	var f *os.File
	n.eventually("somebody reads "+fifo, func() bool {
		var err error
		f, err = os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return !errors.Is(err, unix.ENXIO)
	})
	if f == nil {
		n.t.Fatal("opening " + fifo)
	}
	defer f.Close()
	if _, err := io.WriteString(f, "go\n"); err != nil {
		n.t.Fatal(err)
	}
}
