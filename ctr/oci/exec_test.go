//go:build rootful

package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/commands/harness"
)

// sandbox is a running container of the host's static busybox that sleeps.
type sandbox struct {
	t   testing.TB
	rt  Runtime
	dir string
	id  string
	n   int
}

// runtimes runs a test with each runtime that is installed.
func runtimes(t *testing.T, f func(t *testing.T, c *sandbox)) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) { f(t, newSandbox(t, name)) })
	}
}

func newSandbox(t testing.TB, name string) *sandbox {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and " + name)
	}
	// Longer than a unix socket's path may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	rootfs := filepath.Join(dir, "rootfs")
	for _, d := range []string{"bin", "proc", "dev", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(rootfs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("no static busybox")
	}
	if err := errors.Join(harness.WriteExecutable(filepath.Join(rootfs, "bin/busybox"), string(busybox)),
		os.WriteFile(filepath.Join(rootfs, "tmp/plain"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, a := range strings.Fields("sh echo sleep cat true stty head yes setsid tty wc kill") {
		if err := os.Symlink("busybox", filepath.Join(rootfs, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	c := &sandbox{t: t, dir: dir, id: fmt.Sprintf("oci-test-%d-%d", os.Getpid(), time.Now().UnixNano()),
		rt: Runtime{Name: name, Path: path, Root: filepath.Join(dir, "rt")}}
	cgroup := "/davit-test-oci/" + c.id
	data, err := json.Marshal(&specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: rootfs}, Process: c.process("sleep", "1000"),
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{CgroupsPath: cgroup, Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.MountNamespace}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.rt.Delete(ctx, c.id, true); err != nil {
			t.Errorf("Delete: %v", err)
		}
		mounts, _ := filepath.Glob("/sys/fs/cgroup/*/davit-test-oci")
		for _, m := range mounts {
			_ = os.Remove(filepath.Join(m, c.id))
			_ = os.Remove(m)
		}
	})
	cmd := exec.Command(path, append(c.rt.GlobalArgs(), "run", "--detach", "--bundle", dir, c.id)...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("run: %v", err)
	}
	return c
}

func (c *sandbox) process(args ...string) *specs.Process {
	caps := []string{"CAP_KILL", "CAP_SETUID", "CAP_SETGID"}
	return &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin", "TERM=xterm"}, NoNewPrivileges: true,
		Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}}
}

// config is an exec of a shell script.
func (c *sandbox) config(script string) ExecConfig {
	return c.command("sh", "-c", script)
}

func (c *sandbox) command(args ...string) ExecConfig {
	c.t.Helper()
	c.n++
	dir := filepath.Join(c.dir, fmt.Sprintf("exec-%d", c.n))
	if err := os.Mkdir(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	return ExecConfig{ID: c.id, Dir: dir, Process: c.process(args...)}
}

func (c *sandbox) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	c.t.Cleanup(cancel)
	return ctx
}

func TestExecStreamsAndCode(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		var out, errs bytes.Buffer
		cfg := c.config("cat; echo err >&2; exit 42")
		cfg.Streams = ExecStreams{Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs}
		code, err := c.rt.Exec(c.ctx(20*time.Second), cfg)
		if code != 42 || err != nil || out.String() != "in\n" || errs.String() != "err\n" {
			t.Errorf("Exec = %d, %v; out %q, err %q", code, err, out.String(), errs.String())
		}
		code, err = c.rt.Exec(c.ctx(20*time.Second), c.config("kill -9 $$"))
		if code != 137 || err != nil {
			t.Errorf("killed: %d, %v", code, err)
		}
		left, _ := os.ReadDir(cfg.Dir)
		if len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
}

func TestExecCannotRun(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		for name, want := range map[string]int{"nonexist": 127, "/no/such": 127, "/etc": 126, "/tmp/plain": 126} {
			var errs bytes.Buffer
			cfg := c.command(name)
			cfg.Streams.Stderr = &errs
			code, err := c.rt.Exec(c.ctx(20*time.Second), cfg)
			var ee *ExecutableError
			if code != -1 || !errors.As(err, &ee) || ee.Code != want || errs.Len() > 0 {
				t.Errorf("%s: %d, %v, stderr %q", name, code, err, errs.String())
			}
		}
		cfg := c.command("true")
		cfg.ID = "no-such-container"
		if _, err := c.rt.Exec(c.ctx(20*time.Second), cfg); !errdefs.IsNotFound(err) {
			t.Errorf("absent: %v", err)
		}
	})
}

// What was written before the end arrives, and a child that keeps the pipes open
// does not delay the answer.
func TestExecBackgroundChild(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		var out bytes.Buffer
		cfg := c.config("sleep 30 & echo done")
		cfg.Streams.Stdout = &out
		began := time.Now()
		code, err := c.rt.Exec(c.ctx(20*time.Second), cfg)
		if code != 0 || err != nil || out.String() != "done\n" || time.Since(began) > 5*time.Second {
			t.Errorf("%d, %v, %q after %v", code, err, out.String(), time.Since(began))
		}
	})
}

type slowWriter struct{ n int64 }

func (s *slowWriter) Write(p []byte) (int, error) {
	if s.n == 0 {
		time.Sleep(200 * time.Millisecond)
	}
	s.n += int64(len(p))
	return len(p), nil
}

func TestExecLosesNothing(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		var out, errs slowWriter
		cfg := c.config("yes | head -c 10000000; yes | head -c 50000 >&2")
		cfg.Streams.Stdout, cfg.Streams.Stderr = &out, &errs
		code, err := c.rt.Exec(c.ctx(30*time.Second), cfg)
		if code != 0 || err != nil || out.n != 10000000 || errs.n != 50000 {
			t.Errorf("%d, %v, %d and %d bytes", code, err, out.n, errs.n)
		}
		in := bytes.Repeat([]byte("x"), 5000000)
		var count bytes.Buffer
		cfg = c.config("wc -c")
		cfg.Streams = ExecStreams{Stdin: bytes.NewReader(in), Stdout: &count}
		code, err = c.rt.Exec(c.ctx(30*time.Second), cfg)
		if code != 0 || err != nil || strings.TrimSpace(count.String()) != "5000000" {
			t.Errorf("stdin: %d, %v, %q", code, err, count.String())
		}
	})
}

// procs counts the container's processes that have the word in their command.
func (c *sandbox) procs(word string) (n int) {
	procs, err := processes()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range procs {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		if !p.zombie && bytes.Contains(data, []byte(word)) {
			n++
		}
	}
	return n
}

func TestExecDeadlineKillsTheTree(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		mark := fmt.Sprintf("%d.5", 100000+os.Getpid()+c.n)
		var out bytes.Buffer
		cfg := c.config("trap '' TERM; sleep " + mark + " & (sleep " + mark + " & sleep " + mark + ") & setsid sleep " + mark + " & echo up; while :; do sleep " + mark + "; done")
		cfg.Streams.Stdout = &out
		ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
		defer cancel()
		began := time.Now()
		code, err := c.rt.Exec(ctx, cfg)
		if code != -1 || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second || out.String() != "up\n" {
			t.Errorf("%d, %v after %v, %q", code, err, time.Since(began), out.String())
		}
		for deadline := time.Now().Add(3 * time.Second); c.procs(mark) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d processes live", c.procs(mark))
			}
		}
		if code, err := c.rt.Exec(c.ctx(20*time.Second), c.command("true")); code != 0 || err != nil {
			t.Errorf("the container does not work any more: %d, %v", code, err)
		}
	})
}

func TestExecSignals(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		signals := make(chan syscall.Signal, 1)
		cfg := c.config("trap 'exit 5' USR1; echo up; while :; do sleep 0.1; done")
		cfg.Signals = signals
		cfg.Streams.Stdout = writerFunc(func(p []byte) { signals <- syscall.SIGUSR1 })
		if code, err := c.rt.Exec(c.ctx(20*time.Second), cfg); code != 5 || err != nil {
			t.Errorf("%d, %v", code, err)
		}
	})
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestExecTerminal(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		in, typed := io.Pipe()
		resize := make(chan Size)
		var out bytes.Buffer
		step := 0
		cfg := c.config("tty >/dev/null && stty size; read a; stty size; read b; echo got $a $b; exit 3")
		cfg.Process.Terminal, cfg.Process.ConsoleSize = true, &specs.Box{Width: 123, Height: 45}
		cfg.Streams = ExecStreams{Stdin: in, Resize: resize, Stdout: writerFunc(func(p []byte) {
			out.Write(p)
			switch {
			case step == 0 && strings.Contains(out.String(), "45 123"):
				step++
				go func() {
					resize <- Size{Width: 80, Height: 24}
					_, _ = typed.Write([]byte("one\n"))
				}()
			case step == 1 && strings.Contains(out.String(), "24 80"):
				step++
				go func() { _, _ = typed.Write([]byte("two\n")) }()
			}
		})}
		code, err := c.rt.Exec(c.ctx(20*time.Second), cfg)
		_ = typed.Close()
		if code != 3 || err != nil || !strings.HasSuffix(out.String(), "got one two\r\n") {
			t.Errorf("%d, %v, %q", code, err, out.String())
		}
		// The end of input is ^D.
		cfg = c.config("cat; echo end")
		out.Reset()
		cfg.Process.Terminal = true
		cfg.Streams = ExecStreams{Stdin: strings.NewReader("x\n"), Stdout: &out}
		if code, err := c.rt.Exec(c.ctx(20*time.Second), cfg); code != 0 || err != nil || !strings.Contains(out.String(), "x\r\n") || !strings.HasSuffix(out.String(), "end\r\n") {
			t.Errorf("%d, %v, %q", code, err, out.String())
		}
		cfg = c.command("nonexist")
		cfg.Process.Terminal = true
		var ee *ExecutableError
		if _, err := c.rt.Exec(c.ctx(20*time.Second), cfg); !errors.As(err, &ee) || ee.Code != 127 {
			t.Errorf("not found: %v", err)
		}
	})
}

func TestExecDetached(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		cfg := c.config("sleep 0.2; echo x >/tmp/mark")
		cfg.Detach = true
		pid := 0
		cfg.Started = func(p int) { pid = p }
		code, err := c.rt.Exec(c.ctx(20*time.Second), cfg)
		if code != 0 || err != nil || pid == 0 {
			t.Fatalf("%d, %v, pid %d", code, err, pid)
		}
		mark := filepath.Join(c.dir, "rootfs/tmp/mark")
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(mark); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it did not run")
			}
		}
	})
}

func TestExecParallel(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		const n = 20
		errs := make(chan error, n)
		for i := range n {
			cfg := c.config(fmt.Sprintf("echo %d; exit %d", i, i))
			go func() {
				var out bytes.Buffer
				cfg.Streams.Stdout = &out
				code, err := c.rt.Exec(c.ctx(60*time.Second), cfg)
				if code != i || err != nil || out.String() != fmt.Sprintln(i) {
					err = fmt.Errorf("%d: code %d, %q, %w", i, code, out.String(), errors.Join(err, os.ErrInvalid))
				}
				errs <- err
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLifeCycle(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		ctx := c.ctx(30 * time.Second)
		if st, err := c.rt.State(ctx, c.id); err != nil || st.Status != "running" || st.Pid <= 0 {
			t.Fatalf("State = %+v, %v", st, err)
		}
		limit := int64(77)
		if err := c.rt.Update(ctx, c.id, &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}); err != nil {
			t.Errorf("Update: %v", err)
		}
		if got, _ := os.ReadFile("/sys/fs/cgroup/pids/davit-test-oci/" + c.id + "/pids.max"); len(got) > 0 && strings.TrimSpace(string(got)) != "77" {
			t.Errorf("pids.max is %q", got)
		}
		if err := c.rt.Pause(ctx, c.id); err != nil {
			t.Errorf("Pause: %v", err)
		}
		if err := c.rt.Resume(ctx, c.id); err != nil {
			t.Errorf("Resume: %v", err)
		}
		if err := c.rt.Start(ctx, c.id); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Start again: %v", err)
		}
		if err := c.rt.Delete(ctx, c.id, false); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Delete of a running one: %v", err)
		}
		if err := c.rt.Delete(ctx, c.id, true); err != nil {
			t.Errorf("Delete: %v", err)
		}
		for what, err := range map[string]error{
			"Start": c.rt.Start(ctx, c.id), "Delete": c.rt.Delete(ctx, c.id, false), "Kill": c.rt.Kill(ctx, c.id, 9, false), "Pause": c.rt.Pause(ctx, c.id),
		} {
			if !errdefs.IsNotFound(err) {
				t.Errorf("%s of an absent one: %v", what, err)
			}
		}
		if v, err := c.rt.Version(ctx); err != nil || !strings.Contains(v, c.rt.Name) {
			t.Errorf("Version = %q, %v", v, err)
		}
	})
}

func BenchmarkExec(b *testing.B) {
	for _, name := range []string{"runc", "crun"} {
		b.Run(name, func(b *testing.B) {
			c := newSandbox(b, name)
			b.Run("davit", func(b *testing.B) {
				for b.Loop() {
					cfg := c.command("true")
					cfg.Streams.Stdout = io.Discard
					if code, err := c.rt.Exec(context.Background(), cfg); code != 0 || err != nil {
						b.Fatal(code, err)
					}
				}
			})
			b.Run("raw", func(b *testing.B) {
				for b.Loop() {
					if err := exec.Command(c.rt.Path, append(c.rt.GlobalArgs(), "exec", c.id, "true")...).Run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// Execs that are under way when the container dies all end, with the signal's
// code or an error, and no process is left unreaped.
func TestExecAtContainerDeath(t *testing.T) {
	runtimes(t, func(t *testing.T, c *sandbox) {
		const n = 24
		type result struct {
			code int
			err  error
		}
		results := make(chan result, n)
		for range n {
			cfg := c.config("echo up; sleep 1000")
			cfg.Streams.Stdout = io.Discard
			go func() {
				code, err := c.rt.Exec(c.ctx(30*time.Second), cfg)
				results <- result{code, err}
			}()
		}
		time.Sleep(300 * time.Millisecond)
		st, err := c.rt.State(c.ctx(10*time.Second), c.id)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(st.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed, failed := 0, 0
		for range n {
			select {
			case r := <-results:
				switch {
				case r.code == 137 && r.err == nil:
					killed++
				case r.err != nil && !errors.Is(r.err, context.DeadlineExceeded):
					failed++
				default:
					t.Errorf("%d, %v", r.code, r.err)
				}
			case <-time.After(15 * time.Second):
				t.Fatal("an exec does not end")
			}
		}
		t.Logf("%d killed, %d failed", killed, failed)
	})
}
