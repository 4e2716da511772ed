//go:build faults

package faults

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// writes is a script that writes 20 MB when it is told to go on, and then ends.
const writes = "while [ ! -e /go/go ]; do echo ready; sleep 0.05; done; yes 0123456789abcdef0123456789abcdef0123456789abcdef | head -c 20000000; exit 5"

// A client that is attached and never reads does not keep the container from going
// on: not at all through the server, and not for long on the command line, where it
// is let go. Another client gets its output all the same.
func TestF44ClientNeverReads(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	dir, begin := n.gate()
	c := s.containerConfig("c", writes)
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/go", HostPath: dir}}
	id := s.container(pod, c)
	never := s.attach(id, false)
	reads := s.attach(id, false)
	got := make(chan int, 1)
	go func() {
		output, _ := reads.rest()
		got <- len(output)
	}()
	n.within(15*time.Second, func() {
		begin()
		n.eventually("the container has ended", func() bool {
			return s.status(id).State == runtimeapi.ContainerState_CONTAINER_EXITED
		})
	})
	if code := s.status(id).ExitCode; code != 5 {
		t.Errorf("exit code %d", code)
	}
	if size := <-got; size < 1_000_000 {
		t.Errorf("another client got %d bytes", size)
	}
	never.close()

	dir, begin = n.gate()
	n.must("run", "-d", "--name", "cli", "-v", dir+":/go", n.image, "sh", "-c", writes)
	unread, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unread.Close() }()
	cmd := n.Command(t.Context(), "attach", "cli")
	var says strings.Builder
	cmd.Stdout, cmd.Stderr = out, &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	if _, err := unread.Read(make([]byte, 6)); err != nil { // it is attached
		t.Fatal(err)
	}
	begin()
	n.eventually("the container has ended", func() bool {
		return n.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "cli").Line() == "exited 5"
	})
	if err := cmd.Wait(); err == nil || !strings.Contains(says.String(), "not taken in time") {
		t.Errorf("attach: %v\n%s", err, says.String())
	}
	s.remove(pod)
	n.empty()
}

// A client that is stopped, which can neither read nor notice that it does not, does
// not keep the container from going on for long, and is told when it goes on itself.
func TestF44ClientIsStopped(t *testing.T) {
	n := newNode(t, "")
	dir := t.TempDir()
	n.must("run", "-d", "--name", "cli", "-v", dir+":/go", n.image, "sh", "-c", "while :; do i=$((i+1)); echo $i >/go/lines; printf '%04000d\\n' 0; done")
	lines := func() string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, "lines"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := n.Command(t.Context(), "attach", "cli")
	var says strings.Builder
	cmd.Stdout, cmd.Stderr = in, &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	if _, err := io.CopyN(io.Discard, out, 10_000); err != nil { // it is attached
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it sends other signals on
	go func() { _, _ = io.Copy(io.Discard, out) }()
	time.Sleep(time.Second)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n.eventually("the container waits for the client", func() bool {
		was := lines()
		time.Sleep(time.Second)
		return lines() == was
	})
	was := lines()
	n.within(15*time.Second, func() {
		n.eventually("the container goes on", func() bool { return lines() != was })
	})
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	n.within(10*time.Second, func() { err = cmd.Wait() })
	if err == nil || !strings.Contains(says.String(), "not taken in time") {
		t.Errorf("attach: %v\n%s", err, says.String())
	}
	n.must("rm", "-f", "-t", "0", "cli")
	n.empty()
}

// A client that was stopped while its container wrote more than it was waited for, and
// ended, is told so when it goes on; one that has missed nothing has the exit code.
func TestF44ClientIsStoppedUntilTheEnd(t *testing.T) {
	n := newNode(t, "")
	for name, lost := range map[string]bool{"much": true, "little": false} {
		script := writes
		if !lost {
			script = strings.Replace(writes, "20000000", "2000", 1)
		}
		dir, begin := n.gate()
		n.must("run", "-d", "--name", name, "-v", dir+":/go", n.image, "sh", "-c", script)
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = out.Close() }()
		cmd := n.Command(t.Context(), "attach", name)
		var says strings.Builder
		cmd.Stdout, cmd.Stderr = in, &says
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
		if _, err := io.CopyN(io.Discard, out, 6); err != nil { // it is attached
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		got := make(chan int64, 1)
		go func() {
			size, _ := io.Copy(io.Discard, out)
			got <- size
		}()
		time.Sleep(time.Second)
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if !lost { // for longer than a monitor may take to accept a client
			time.Sleep(10 * time.Second)
			began = time.Now()
		}
		begin()
		id := n.must("inspect", "--format", "{{.Id}}", name).Line()
		n.within(25*time.Second, func() {
			n.eventually("the container has ended, and its monitor", func() bool {
				sockets, _ := filepath.Glob(filepath.Join(n.Roots.RunRoot, "containers", id, "*", "attach"))
				return len(sockets) == 0 && n.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name).Line() == "exited 5"
			})
		})
		if took := time.Since(began); lost != (took > 5*time.Second) {
			t.Errorf("%s: the container has ended after %s", name, took)
		}
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		n.within(10*time.Second, func() { err = cmd.Wait() })
		code, size := cmd.ProcessState.ExitCode(), <-got
		switch {
		case lost && (code != 125 || size > 10_000_000 || strings.Count(says.String(), "not taken in time") != 1 || strings.Count(says.String(), "\n") != 1):
			t.Errorf("attach, which lost output: %d bytes, %v\n%s", size, err, says.String())
		case !lost && (code != 5 || size < 2000 || says.Len() > 0):
			t.Errorf("attach, which lost nothing: %d bytes, %v\n%s", size, err, says.String())
		}
		n.must("rm", "-f", "-t", "0", name)
	}
	n.empty()
}

// A server that is stopped, with a client of a container attached to it, does not keep
// the container from going on for long. When it goes on its client is told, also where
// the container has ended meanwhile.
func TestF44ServerIsStopped(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	dir := t.TempDir()
	const lines = `while :; do i=$((i+1)); echo $i >/go/$0; printf '%04000d\n' 0; if [ -e /go/end ]; then exit 5; fi; done`
	attached := map[string]*streams{}
	for _, name := range []string{"ends", "stays"} {
		c := s.containerConfig(name, strings.ReplaceAll(lines, "$0", name))
		if name == "stays" {
			c = s.containerConfig(name, strings.ReplaceAll(strings.ReplaceAll(lines, "/go/end", "/go/never"), "$0", name))
		}
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/go", HostPath: dir}}
		attached[name] = s.attach(s.container(pod, c), false)
		if channel, _ := attached[name].next(); channel != channelStdout {
			t.Fatalf("the first of %s comes on channel %d", name, channel)
		}
	}
	written := func() string {
		t.Helper()
		var all string
		for name := range attached {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all += name + " " + strings.TrimSpace(string(data)) + " "
		}
		return all
	}
	time.Sleep(time.Second)
	if err := syscall.Kill(s.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := sync.OnceValue(func() error { return syscall.Kill(s.PID(), syscall.SIGCONT) })
	defer func() { _ = goOn() }()
	n.eventually("the containers wait for the server", func() bool {
		was := written()
		time.Sleep(time.Second)
		return written() == was
	})
	was := written()
	n.within(15*time.Second, func() {
		n.eventually("the containers go on", func() bool {
			for _, one := range strings.SplitAfter(strings.TrimSpace(was), " ") {
				if _, err := strconv.Atoi(strings.TrimSpace(one)); err == nil && strings.Contains(written(), one) {
					return false
				}
			}
			return true
		})
	})
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.eventually("one container has ended", func() bool {
		return n.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", attached["ends"].id).Line() == "exited 5"
	})
	if err := goOn(); err != nil {
		t.Fatal(err)
	}
	for name, c := range attached {
		var told string
		n.within(20*time.Second, func() { _, told = c.rest() })
		if !strings.Contains(told, "not taken in time") {
			t.Errorf("the client of the container that %s is told %q", name, told)
		}
	}
	if st := s.status(attached["stays"].id).State; st != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container is %s", st)
	}
	again := s.attach(attached["stays"].id, false)
	if channel, _ := again.next(); channel != channelStdout {
		t.Errorf("a new client has something on channel %d first", channel)
	}
	again.close()
	s.remove(pod)
	n.empty()
}

// gate makes a folder; a container in which it is mounted waits there to begin.
func (n *node) gate() (dir string, begin func()) {
	n.t.Helper()
	dir = n.t.TempDir()
	return dir, func() {
		n.t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
}

// A client that closes its stdin, or its half of the connection, ends what it has to
// say and not the container; and what comes after is there for others.
func TestF44ClientHalfCloses(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("pod"))
	c := s.containerConfig("c", `while :; do while read x; do echo "got $x"; done; sleep 0.05; done`)
	c.Stdin = true
	id := s.container(pod, c)
	for i := range 3 {
		first := s.attach(id, true)
		first.send(channelStdin, fmt.Sprintf("one%d\n", i))
		if got := first.until("\n"); got != fmt.Sprintf("got one%d\n", i) {
			t.Fatalf("the container says %q", got)
		}
		switch i {
		case 0: // its stdin
			first.send(channelClose, "\x00")
			second := s.attach(id, true)
			second.send(channelStdin, "two\n")
			if got := second.until("\n"); got != "got two\n" {
				t.Errorf("the container says %q", got)
			}
			if got := first.until("\n"); got != "got two\n" {
				t.Errorf("to who has closed its stdin the container says %q", got)
			}
			second.close()
		case 1: // its half of the connection: it is gone for the server
			if err := first.conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			n.within(10*time.Second, func() { _, _ = io.Copy(io.Discard, first.conn) })
		}
		first.close()
	}
	if st := s.status(id).State; st != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container is %s", st)
	}

	n.must("run", "-d", "-i", "--name", "cli", n.image, "sh", "-c", `while read x; do echo "got $x"; done; exec sleep 4741`)
	cmd := n.Command(t.Context(), "attach", "cli")
	cmd.Stdin = strings.NewReader("three\n")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.eventually("the container has read it", func() bool { return n.must("logs", "cli").Line() == "got three" })
	if st := n.must("ps", "--format", "{{.State}}", "--filter", "name=cli").Line(); st != "running" {
		t.Errorf("the container is %q", st)
	}
	n.must("stop", "-t", "0", "cli")
	_ = cmd.Wait()
	s.remove(pod)
	n.empty()
}

// until is what comes up to the first message that ends so.
func (c *streams) until(end string) string {
	var got strings.Builder
	for !strings.HasSuffix(got.String(), end) {
		channel, data := c.next()
		if channel < 0 {
			break
		}
		got.WriteString(data)
	}
	return got.String()
}

// send sends a message.
func (c *streams) send(channel byte, data string) {
	c.s.n.t.Helper()
	if err := websocket.Message.Send(c.ws, append([]byte{channel}, data...)); err != nil {
		c.s.n.t.Fatal(err)
	}
}
