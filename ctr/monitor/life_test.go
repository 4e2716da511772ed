//go:build rootful

package monitor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
)

func TestOutputExitCodeAndLog(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		c := r.create(r.spec("sh", "-c", "echo out; echo err >&2; exit 7"), nil)
		a := c.attach()
		c.start()
		var out, errs bytes.Buffer
		if err := a.Copy(c.ctx(20*time.Second), monitor.Output{Stdout: &out, Stderr: &errs}); err != nil {
			t.Fatal(err)
		}
		e := c.wait()
		if e.Code != 7 || e.OOM || e.Lost || time.Since(e.Finished).Abs() > 5*time.Second {
			t.Errorf("Wait = %+v", e)
		}
		if out.String() != "out\n" || errs.String() != "err\n" {
			t.Errorf("out %q, err %q", out.String(), errs.String())
		}
		log, err := os.ReadFile(c.cfg.Paths.Log)
		if err != nil || !strings.Contains(string(log), " stdout F out\n") || !strings.Contains(string(log), " stderr F err\n") {
			t.Errorf("log %q, %v", log, err)
		}
		// The monitor writes this one a moment after the one that Wait waits for.
		told := filepath.Join(c.cfg.Paths.ExitDir, c.cfg.ID)
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(told); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		if again := c.wait(); again != e {
			t.Errorf("Wait again = %+v", again)
		}
	})
}

// Paths longer than a unix socket's address.
func TestLongPaths(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		long := filepath.Join(r.dir, strings.Repeat("a", 100), strings.Repeat("b", 100))
		if err := os.MkdirAll(long, 0o700); err != nil {
			t.Fatal(err)
		}
		r.dir = long
		for _, terminal := range []bool{false, true} {
			s := r.spec("sh", "-c", "read a; echo got $a")
			s.Process.Terminal = terminal
			c := r.create(s, func(cfg *monitor.Config) { cfg.Streams.Stdin = true })
			a := c.attach()
			c.start()
			if _, err := a.Write([]byte("it\n")); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := a.Copy(c.ctx(20*time.Second), monitor.Output{Stdout: &out}); err != nil || !strings.Contains(out.String(), "got it") {
				t.Errorf("%v, %q", err, out.String())
			}
		}
	})
}

func TestStdinHalfClose(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		c := r.create(r.spec("sh", "-c", "wc -c; echo after"), func(cfg *monitor.Config) {
			cfg.Streams.Stdin, cfg.Streams.StdinOnce = true, true
		})
		a := c.attach()
		c.start()
		in := bytes.Repeat([]byte("0123456789"), 200_000)
		go func() {
			if _, err := a.Write(in); err != nil {
				t.Error(err)
			}
			if err := a.CloseStdin(); err != nil {
				t.Error(err)
			}
		}()
		var out bytes.Buffer
		if err := a.Copy(c.ctx(20*time.Second), monitor.Output{Stdout: &out}); err != nil || strings.TrimSpace(out.String()) != "2000000\nafter" {
			t.Errorf("%v, %q", err, out.String())
		}
		if e := c.wait(); e.Code != 0 {
			t.Errorf("%+v", e)
		}
	})
}

// Without StdinOnce a client that leaves takes nothing with it.
func TestDetachAndAttachAgain(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		for _, terminal := range []bool{false, true} {
			s := r.spec("sh", "-c", "while read a; do echo got $a; done")
			s.Process.Terminal = terminal
			c := r.create(s, func(cfg *monitor.Config) { cfg.Streams.Stdin, cfg.Streams.StdinOnce = true, terminal })
			first := c.attach()
			c.start()
			say(t, c, first, "one")
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			say(t, c, c.attach(), "two")
		}
	})
}

// say sends a line and waits for the answer.
func say(t *testing.T, c *container, a *monitor.Attachment, word string) {
	t.Helper()
	ctx, cancel := context.WithCancel(c.ctx(10 * time.Second))
	defer cancel()
	if _, err := a.Write([]byte(word + "\n")); err != nil {
		t.Fatal(err)
	}
	out := &watched{word: "got " + word, found: cancel}
	if err := a.Copy(ctx, monitor.Output{Stdout: out}); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, %q", err, out.String())
	}
}

// watched calls found when the word was written to it.
type watched struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	word  string
	found func()
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if strings.Contains(w.buf.String(), w.word) {
		w.found()
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func TestTerminalSize(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		s := r.spec("sh", "-c", "trap 'stty size; exit 4' WINCH; stty size; while :; do sleep 0.05; done")
		s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Width: 101, Height: 37}
		c := r.create(s, nil)
		a := c.attach()
		c.start()
		out := &watched{word: "37 101"}
		out.found = sync.OnceFunc(func() {
			if err := a.Resize(90, 30); err != nil {
				t.Errorf("Resize: %v", err)
			}
		})
		if err := a.Copy(c.ctx(20*time.Second), monitor.Output{Stdout: out}); err != nil || !strings.HasSuffix(out.String(), "30 90\r\n") {
			t.Errorf("%v, %q", err, out.String())
		}
		if e := c.wait(); e.Code != 4 {
			t.Errorf("%+v", e)
		}
		if err := monitor.AwaitGone(c.ctx(10*time.Second), c.started.Monitor); err != nil {
			t.Fatal(err)
		}
		if err := monitor.Resize(c.cfg.Paths.Bundle, 1, 1); !errors.Is(err, monitor.ErrMonitorGone) {
			t.Errorf("Resize after the end: %v", err)
		}
		if _, err := monitor.Connect(c.ctx(time.Second), monitor.SocketPath(c.cfg.Paths.Bundle)); !errors.Is(err, monitor.ErrMonitorGone) {
			t.Errorf("Connect after the end: %v", err)
		}
	})
}

// counter counts, and is slow at first.
type counter struct {
	n     int64
	first time.Duration
}

func (w *counter) Write(p []byte) (int, error) {
	if w.n == 0 {
		time.Sleep(w.first)
	}
	w.n += int64(len(p))
	return len(p), nil
}

// Ten megabytes arrive whole at a sink that keeps them waiting, before and after
// the exit is recorded; the exit command is not waited for.
func TestNothingIsLost(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		const size = 10_000_000
		c := r.create(r.spec("sh", "-c", "yes 0123456789abcdef | head -c 10000000"), func(cfg *monitor.Config) {
			cfg.ExitCommand = []string{"/bin/sleep", "2"}
		})
		a := c.attach()
		c.start()
		out := &counter{first: 300 * time.Millisecond}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, err := monitor.Wait(c.ctx(20*time.Second), c.waitConfig()); err != nil {
				t.Errorf("Wait: %v", err)
			}
		}()
		began := time.Now()
		if err := a.Copy(c.ctx(20*time.Second), monitor.Output{Stdout: out, Ended: ended}); err != nil || out.n != size {
			t.Errorf("%v, %d bytes", err, out.n)
		}
		<-ended
		t.Logf("%d bytes in %v", out.n, time.Since(began))
		log, err := os.Stat(c.cfg.Paths.Log)
		if err != nil || log.Size() < size {
			t.Errorf("log: %v, %v", log, err)
		}
	})
}

// A monitor that is dismissed while it waits with its exit command runs none and goes;
// one that is not runs it, and so does one that is dismissed too late.
func TestDismiss(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		for _, tt := range []struct {
			name      string
			delay     time.Duration
			dismissed bool
			runs      bool
		}{
			{"dismissed", time.Minute, true, false},
			{"not dismissed", time.Second, false, true},
			{"running", 0, true, true},
		} {
			ran := filepath.Join(r.dir, strings.ReplaceAll(tt.name, " ", "-"))
			c := r.create(r.spec("sh", "-c", "exit 7"), func(cfg *monitor.Config) {
				cfg.ExitCommand = []string{"/bin/sh", "-c", "echo >" + ran + ".begun; sleep 0.5; echo >" + ran}
				cfg.ExitDelay = tt.delay
			})
			c.start()
			if e := c.wait(); e.Code != 7 {
				t.Errorf("%s: %+v", tt.name, e)
			}
			mon := c.waitConfig()
			for deadline := time.Now().Add(5 * time.Second); tt.dismissed; time.Sleep(5 * time.Millisecond) {
				children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", mon.Monitor.Pid))
				_, err := os.Stat(ran + ".begun")
				if waits := len(children) > 0 && tt.delay > 0; waits || err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s: the exit command neither waits nor runs", tt.name)
				}
			}
			if tt.dismissed {
				if err := monitor.Dismiss(mon.Monitor); err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
			if err := monitor.AwaitGone(c.ctx(10*time.Second), mon.Monitor); err != nil {
				t.Errorf("%s: the monitor stays: %v", tt.name, err)
			}
			if _, err := os.Stat(ran); (err == nil) != tt.runs {
				t.Errorf("%s: the exit command has run to its end: %v, want %v", tt.name, err == nil, tt.runs)
			}
			if err := monitor.Dismiss(mon.Monitor); err != nil {
				t.Errorf("%s: of one that has gone: %v", tt.name, err)
			}
		}
	})
}

// blocked is a sink that never takes anything.
type blocked struct{ release chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.release; return len(p), nil }

func TestDropDoesNotHoldTheContainerUp(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		c := r.create(r.spec("sh", "-c", "yes 0123456789abcdef0123456789abcdef0123456789abcdef | head -c 5000000"), nil)
		a := c.attach()
		c.start()
		sink := blocked{make(chan struct{})}
		var dropped int64
		copied := make(chan error, 1)
		go func() {
			copied <- a.Copy(c.ctx(20*time.Second), monitor.Output{Stdout: sink, Policy: monitor.Drop, Buffer: 100_000,
				Dropped: func(n int64) { dropped += n }})
		}()
		if e := c.wait(); e.Code != 0 {
			t.Errorf("%+v", e)
		}
		close(sink.release)
		if err := <-copied; err != nil || dropped < 4_000_000 {
			t.Errorf("%v, %d dropped", err, dropped)
		}
	})
}

// A client that never reads holds the container up only until it leaves.
func TestClientThatNeverReads(t *testing.T) {
	r := newNamed(t, "runc")
	c := r.create(r.spec("sh", "-c", "yes 0123456789abcdef0123456789abcdef0123456789abcdef | head -c 5000000"), nil)
	a := c.attach()
	c.start()
	if _, err := monitor.Wait(c.ctx(300*time.Millisecond), c.waitConfig()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if e := c.wait(); e.Code != 0 {
		t.Errorf("%+v", e)
	}
}

func TestOOMMarker(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		for script, codes := range map[string][]int{
			// The shell may be the one that is killed.
			"head -c 200000000 /dev/zero | tail -c 190000000 >/dev/null; exit 9": {9, 137},
			"exec tail -c 190000000 /dev/zero":                                   {137},
		} {
			s := r.spec("sh", "-c", script)
			limit := int64(32 << 20)
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
			c := r.create(s, nil)
			c.start()
			if e := c.wait(); !e.OOM || !slices.Contains(codes, e.Code) {
				t.Errorf("%s: %+v", script, e)
			}
			// The monitor writes another marker where it runs.
			if _, err := os.Lstat("oom"); !os.IsNotExist(err) {
				t.Errorf("a marker in the caller's folder: %v", err)
			}
		}
	})
}

func TestKilledMonitorIsLost(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		c := r.create(r.spec("sleep", "1000"), nil)
		c.start()
		waited := make(chan monitor.Exit, 1)
		go func() { waited <- c.wait() }()
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		if err := monitor.Signal(c.started.Monitor, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e := <-waited
		if !e.Lost || e.Code != -1 || time.Since(began) > time.Second {
			t.Errorf("%+v after %v", e, time.Since(began))
		}
		if !c.started.Process.Alive() {
			t.Error("the container died with its monitor")
		}
		if err := monitor.Signal(c.started.Process, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := monitor.AwaitGone(c.ctx(10*time.Second), c.started.Process); err != nil {
			t.Fatal(err)
		}
		if e := c.wait(); !e.Lost {
			t.Errorf("%+v", e)
		}
		if err := monitor.Resize(c.cfg.Paths.Bundle, 1, 1); !errors.Is(err, monitor.ErrMonitorGone) {
			t.Errorf("Resize: %v", err)
		}
		if err := monitor.ReopenLog(c.ctx(time.Second), c.cfg.Paths.Bundle, c.cfg.Paths.Log+".new"); !errors.Is(err, monitor.ErrMonitorGone) {
			t.Errorf("ReopenLog: %v", err)
		}
		if left, _ := filepath.Glob(c.cfg.Paths.Log + ".new*"); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
}

// A monitor that stands still keeps nobody waiting.
func TestStoppedMonitor(t *testing.T) {
	r := newNamed(t, "runc")
	c := r.create(r.spec("sleep", "1000"), nil)
	c.start()
	if err := monitor.Signal(c.started.Monitor, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = monitor.Signal(c.started.Monitor, syscall.SIGCONT) }()
	log := c.cfg.Paths.Log
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := monitor.ReopenLog(c.ctx(200*time.Millisecond), c.cfg.Paths.Bundle, log); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ReopenLog: %v", err)
	}
	if left, _ := filepath.Glob(log + "*"); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	var err error
	for range 20_000 {
		if err = monitor.Resize(c.cfg.Paths.Bundle, 80, 24); err != nil {
			break
		}
	}
	if !errdefs.IsUnavailable(err) {
		t.Errorf("Resize: %v", err)
	}
}

func TestReopenLog(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		c := r.create(r.spec("sh", "-c", "trap told=1 TERM; i=0; while [ ! $told ]; do echo $i; i=$((i+1)); done; echo end"), nil)
		c.start()
		log := c.cfg.Paths.Log
		if err := monitor.ReopenLog(c.ctx(5*time.Second), c.cfg.Paths.Bundle, log); err != nil {
			t.Errorf("with the file in place: %v", err)
		}
		parts := []string{}
		for i := range 5 {
			time.Sleep(10 * time.Millisecond)
			part := fmt.Sprintf("%s.%d", log, i)
			if err := os.Rename(log, part); err != nil {
				t.Fatal(err)
			}
			if err := monitor.ReopenLog(c.ctx(5*time.Second), c.cfg.Paths.Bundle, log); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(log)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
			parts = append(parts, part)
		}
		for info, err := os.Stat(log); err == nil && info.Size() == 0; info, err = os.Stat(log) {
			time.Sleep(time.Millisecond)
		}
		if err := monitor.Signal(c.started.Process, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		c.wait()
		next, whole, ended := 0, "", false
		for _, part := range append(parts, log) {
			data, err := os.ReadFile(part)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(data)) {
				// Time, stream, tag, text; a piece has no end of its own.
				f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
				if len(f) != 4 {
					t.Fatalf("%s: %q", part, line)
				}
				if whole += f[3]; f[2] == "P" {
					continue
				}
				if ended = whole == "end"; !ended && whole != fmt.Sprint(next) {
					t.Fatalf("%s: %q, want %d", part, whole, next)
				}
				next, whole = next+1, ""
			}
		}
		if !ended {
			t.Errorf("%d lines, and not the last", next)
		}
	})
}

// A folder that is gone is davit's error; the monitor lives on.
func TestReopenLogWithoutFolder(t *testing.T) {
	r := newNamed(t, "runc")
	dir := filepath.Join(r.dir, "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := r.create(r.spec("sleep", "1000"), func(cfg *monitor.Config) { cfg.Paths.Log = filepath.Join(dir, "log") })
	c.start()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := monitor.ReopenLog(c.ctx(time.Second), c.cfg.Paths.Bundle, c.cfg.Paths.Log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	time.Sleep(50 * time.Millisecond)
	if !c.started.Monitor.Alive() {
		t.Error("the monitor died")
	}
}

func TestCreateFailure(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		for _, terminal := range []bool{false, true} {
			s := r.spec("no-such-command")
			s.Process.Terminal = terminal
			_, err := r.tryCreate(s, nil)
			var ee *oci.ExecutableError
			if !errors.As(err, &ee) || ee.Code != 127 || ee.Name != "no-such-command" {
				t.Errorf("terminal %v: %v", terminal, err)
			}
		}
	})
}

func TestAbort(t *testing.T) {
	r := newNamed(t, "runc")
	s, err := monitor.Fork(r.ctx(5*time.Second), r.config(r.spec("true")))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Monitor().Alive() {
		t.Error("it does not live")
	}
	for range 2 {
		if err := s.Abort(); err != nil {
			t.Error(err)
		}
	}
	if s.Monitor().Alive() {
		t.Error("it lives")
	}
	if _, err := s.Create(r.ctx(time.Second)); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Create after Abort: %v", err)
	}
}

func TestPlacement(t *testing.T) {
	r := newNamed(t, "runc")
	placed := 0
	c := r.create(r.spec("true"), func(cfg *monitor.Config) {
		cfg.Placement.Place = func(pid int) error { time.Sleep(50 * time.Millisecond); placed = pid; return nil }
	})
	if placed != c.started.Monitor.Pid {
		t.Errorf("placed %d, the monitor is %d", placed, c.started.Monitor.Pid)
	}
	_, err := r.tryCreate(r.spec("true"), func(cfg *monitor.Config) {
		cfg.Placement.Place = func(int) error { return io.ErrClosedPipe }
	})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

// Cloned into a cgroup of version 2 where the host has such a hierarchy.
func TestCloneIntoCgroup(t *testing.T) {
	r := newNamed(t, "runc")
	root := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
		t.Skip("no such hierarchy")
	}
	dir := filepath.Join(root, fmt.Sprintf("davit-test-clone-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close(); _ = os.Remove(dir) })
	c := r.create(r.spec("sleep", "100"), func(cfg *monitor.Config) {
		cfg.Placement.Into = func(start func(*os.File) error) error { return start(f) }
	})
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.started.Monitor.Pid))
	if err != nil || !strings.Contains(string(data), "0::/"+filepath.Base(dir)+"\n") {
		t.Errorf("%v, %s", err, data)
	}
	c.start()
	if err := monitor.Signal(c.started.Process, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := c.wait(); e.Code != 137 {
		t.Errorf("%+v", e)
	}
	if err := monitor.AwaitGone(c.ctx(5*time.Second), c.started.Monitor); err != nil {
		t.Fatal(err)
	}
}
