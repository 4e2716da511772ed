package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/ctr/record"
)

// script makes a monitor of a shell script; 3 is the sync pipe, 4 the start
// pipe.
func script(t *testing.T, body string) Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "conmon")
	if err := harness.WriteExecutable(path, "#!/bin/sh\n"+body); err != nil {
		t.Fatal(err)
	}
	return Config{Path: path, ID: "c", Name: "n", Runtime: Runtime{Path: "/opt/rt"},
		Paths: Paths{Bundle: dir, PersistDir: dir}}
}

func TestArguments(t *testing.T) {
	c := Config{
		ID: "c1", Name: "web",
		Runtime:     Runtime{Path: "/usr/sbin/runc", Args: []string{"--root", "/r"}},
		Paths:       Paths{Bundle: "/b", PidFile: "/p", PersistDir: "/d", ExitDir: "/e", Log: "/l"},
		Streams:     Streams{Stdin: true, StdinOnce: true, LogSizeMax: 10},
		ExitCommand: []string{"/davit", "cleanup", "c1"},
		ExitDelay:   3 * time.Second,
	}
	want := "--sync --full-attach --no-sync-log -c c1 -u c1 -n web -b /b -p /p --persist-dir /d -r /usr/sbin/runc " +
		"--runtime-arg --root --runtime-arg /r --exit-dir /e -l k8s-file:/l --log-size-max 10 -i " +
		"--exit-delay 3 --exit-command /davit --exit-command-arg cleanup --exit-command-arg c1"
	if diff := cmp.Diff(strings.Fields(want), c.args()); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		s    Streams
		want string
	}{
		{Streams{}, ""},
		{Streams{Terminal: true}, "-t"},
		{Streams{Stdin: true}, "-i --leave-stdin-open"},
		{Streams{Stdin: true, StdinOnce: true}, "-i"},
		{Streams{Stdin: true, StdinOnce: true, Terminal: true}, "-t -i --leave-stdin-open"},
	} {
		args := strings.Join(Config{Streams: tt.s}.args(), " ")
		if _, got, _ := strings.Cut(args, "-l none"); strings.TrimSpace(got) != tt.want {
			t.Errorf("%+v: %q", tt.s, got)
		}
	}
}

func TestEnvironment(t *testing.T) {
	c := Config{Env: []string{"PATH=/bin", "LISTEN_FDS=1", "NOTIFY_SOCKET=/n", "_OCI_SYNCPIPE=9", "TMPDIR=/" + strings.Repeat("x", 100), "A=b=c"}}
	want := []string{"PATH=/bin", "A=b=c", "_OCI_SYNCPIPE=3", "_OCI_STARTPIPE=4"}
	if diff := cmp.Diff(want, c.env()); diff != "" {
		t.Error(diff)
	}
}

func TestForkRefuses(t *testing.T) {
	good := script(t, "exit 0")
	for name, change := range map[string]func(*Config){
		"no id":      func(c *Config) { c.ID = "" },
		"no runtime": func(c *Config) { c.Runtime.Path = "" },
		"colon":      func(c *Config) { c.Paths.Log = "/a:b" },
	} {
		cfg := good
		change(&cfg)
		if _, err := Fork(t.Context(), cfg); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.Path = filepath.Join(t.TempDir(), "none")
	if _, err := Fork(t.Context(), good); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), good.Path) {
		t.Errorf("no monitor: %v", err)
	}
}

func TestCreateFaults(t *testing.T) {
	failed := errors.New("failed")
	tests := []struct {
		name, body string
		is         func(error) bool
	}{
		{"runtime failed", `read x <&4; echo '{"pid": -1, "message": "the reason"}' >&3; sleep 100`, func(err error) bool {
			return errors.Is(err, failed) && strings.Contains(err.Error(), "the reason")
		}},
		{"newer answer", `read x <&4; echo '{"data": -1, "message": "the reason"}' >&3`, func(err error) bool { return errors.Is(err, failed) }},
		{"says nothing", `read x <&4; exit 1`, func(err error) bool { return errors.Is(err, failed) }},
		{"own words", `echo conmon: bad option >&2; exit 1`, func(err error) bool { return strings.Contains(err.Error(), "bad option") }},
		{"garbage", `read x <&4; echo garbage >&3`, errdefs.IsUnavailable},
		{"pid 0", `read x <&4; echo '{"pid": 0}' >&3`, func(err error) bool { return err != nil }},
		{"a process that is gone", `read x <&4; echo '{"pid": 999999999}' >&3`, errdefs.IsNotFound},
		{"endless answer", `read x <&4; yes | tr -d '\n' >&3`, errdefs.IsUnavailable},
		{"hangs", `sleep 1000 & read x <&4; sleep 1000`, func(err error) bool {
			return errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "/opt/rt")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := script(t, tt.body)
			cfg.Runtime.Failure = func(raw string) error { return fmt.Errorf("%w: %s", failed, raw) }
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			s, err := Fork(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = s.Create(ctx); err == nil || !tt.is(err) {
				t.Errorf("Create = %v", err)
			}
			if s.Monitor().Alive() {
				t.Error("the monitor lives")
			}
			for deadline := time.Now().Add(5 * time.Second); groupLives(t, s.Monitor().Pid); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("its group lives")
				}
			}
		})
	}
}

// A runtime that has died is not waited for, whatever keeps the monitor from saying
// so; one that lives is, whatever else the monitor has reaped.
func TestCreateRuntimeDied(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		died bool
	}{
		"died":  {`read x <&4; sh -c 'setsid sleep 20 & exit 1'; exec sleep 1000`, true},
		"lives": {`read x <&4; sh -c 'setsid sleep 20 & exit 1'; sleep 1000`, false},
		"first": {`read x <&4; sleep 1000`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			s, err := Fork(ctx, script(t, tt.body))
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Create(ctx)
			if died := errdefs.IsUnavailable(err) && strings.Contains(err.Error(), `"/opt/rt" has died`); died != tt.died {
				t.Errorf("Create = %v", err)
			}
			if s.Monitor().Alive() {
				t.Error("the monitor lives")
			}
		})
	}
}

// What descends from a monitor that is given up ends with it, sessions or not.
func TestAbortKillsBelow(t *testing.T) {
	cfg := script(t, `read x <&4; setsid sh -c 'echo $$ > left; setsid sh -c "echo \$\$ > below; exec sleep 1000" & sleep 1000'`)
	s, err := Fork(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := s.Create(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Create = %v", err)
	}
	for _, name := range []string{"left", "below"} {
		data, err := os.ReadFile(filepath.Join(cfg.Paths.Bundle, name))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		// A shell is no subreaper: what has lost its parent is killed, and not waited for.
		if p, err := record.ProcessOf(pid); err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := AwaitGone(ctx, p); err != nil && !errdefs.IsNotFound(err) {
				t.Errorf("the process %q lives: %v", name, err)
			}
			cancel()
		}
	}
}

// groupLives looks for a process of a group that is not a zombie.
func groupLives(t *testing.T, group int) bool {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		data, _ := os.ReadFile(name)
		f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(f) > 2 && f[2] == fmt.Sprint(group) && f[0] != "Z" {
			return true
		}
	}
	return false
}

func TestReadExit(t *testing.T) {
	when := time.Unix(1_700_000_000, 5)
	tests := []struct {
		name  string
		files map[string]string
		want  Exit
		found bool
		is    func(error) bool
	}{
		{"none", nil, Exit{}, false, nil},
		{"code", map[string]string{"exit": "137"}, Exit{Code: 137, Finished: when}, true, nil},
		{"oom", map[string]string{"exit": "0\n", "oom": ""}, Exit{Finished: when, OOM: true}, true, nil},
		{"empty", map[string]string{"exit": ""}, Exit{}, false, errdefs.IsUnavailable},
		{"garbage", map[string]string{"exit": "x1"}, Exit{}, false, errdefs.IsUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(dir, name)
				if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, when, when)); err != nil {
					t.Fatal(err)
				}
			}
			got, found, err := ReadExit(dir)
			if !got.Finished.Equal(tt.want.Finished) || found != tt.found || (err != nil) != (tt.is != nil) || (err != nil && !tt.is(err)) {
				t.Errorf("got %+v, %v, %v", got, found, err)
			}
			if got.Code != tt.want.Code || got.OOM != tt.want.OOM {
				t.Errorf("got %+v", got)
			}
		})
	}
	if _, found, err := ReadExit("/none/such"); found || err != nil {
		t.Errorf("no folder: %v, %v", found, err)
	}
}

// sleeper is a process that a test can take for a monitor.
func sleeper(t *testing.T) (record.Process, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p, err := record.ProcessOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p, cmd
}

func TestWait(t *testing.T) {
	tests := []struct {
		name string
		do   func(dir string, cmd *exec.Cmd) error
		want Exit
		err  func(error) bool
	}{
		{"written", func(dir string, _ *exec.Cmd) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "x"), []byte("3"), 0o600), os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "exit")))
		}, Exit{Code: 3}, nil},
		{"written, then gone", func(dir string, cmd *exec.Cmd) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "exit"), []byte("4"), 0o600), cmd.Process.Kill())
		}, Exit{Code: 4}, nil},
		{"gone", func(_ string, cmd *exec.Cmd) error { return cmd.Process.Kill() }, Exit{Code: -1, Lost: true}, nil},
		{"folder gone", func(dir string, _ *exec.Cmd) error { return os.RemoveAll(dir) }, Exit{}, errdefs.IsNotFound},
		{"nothing", func(string, *exec.Cmd) error { return nil }, Exit{}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	}
	for _, tt := range tests {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s late=%v", tt.name, late), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "persist")
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				p, cmd := sleeper(t)
				act := func() {
					if err := tt.do(dir, cmd); err != nil {
						t.Error(err)
					}
				}
				if late {
					time.AfterFunc(50*time.Millisecond, act)
				} else {
					act()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				e, err := Wait(ctx, WaitConfig{PersistDir: dir, Monitor: p})
				if e.Code != tt.want.Code || e.Lost != tt.want.Lost || (err != nil) != (tt.err != nil) || (err != nil && !tt.err(err)) {
					t.Errorf("Wait = %+v, %v", e, err)
				}
			})
		}
	}
}

// The clock serves where the kernel has no inotify instance left.
func TestWatchDirWithoutInotify(t *testing.T) {
	changed, stop := watchDir(t.Context(), "/none/such/folder", nil)
	defer stop()
	<-changed
	select {
	case <-changed:
	case <-time.After(3 * slowPoll):
		t.Error("nothing is polled")
	}
}

// A pid whose start time is another's is nobody's.
func TestReusedPidIsNotTouched(t *testing.T) {
	p, _ := sleeper(t)
	other := record.Process{Pid: p.Pid, Start: p.Start + 1}
	if err := Signal(other, syscall.SIGKILL); !errdefs.IsNotFound(err) {
		t.Errorf("Signal = %v", err)
	}
	if err := AwaitGone(t.Context(), other); err != nil {
		t.Errorf("AwaitGone = %v", err)
	}
	if e, err := Wait(t.Context(), WaitConfig{PersistDir: t.TempDir(), Monitor: other}); err != nil || !e.Lost {
		t.Errorf("Wait = %+v, %v", e, err)
	}
	if !p.Alive() {
		t.Fatal("the process was killed")
	}
	for _, pid := range []int{0, -1} {
		if err := Signal(record.Process{Pid: pid}, syscall.SIGKILL); !errdefs.IsNotFound(err) {
			t.Errorf("Signal(%d) = %v", pid, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := AwaitGone(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AwaitGone = %v", err)
	}
	if err := Signal(p, syscall.SIGKILL); err != nil {
		t.Errorf("Signal = %v", err)
	}
	if err := AwaitGone(t.Context(), p); err != nil {
		t.Errorf("AwaitGone = %v", err)
	}
	if err := Signal(p, syscall.SIGKILL); !errdefs.IsNotFound(err) {
		t.Errorf("Signal a dead one = %v", err)
	}
}

func TestReapOnce(t *testing.T) {
	p, cmd := sleeper(t)
	seen := reapOnce(nil, nil)
	if _, ok := seen[p.Pid]; ok {
		t.Error("a living child was taken for dead")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); p.Alive() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	seen = reapOnce(seen, nil)
	if _, err := record.ProcessOf(p.Pid); err != nil || seen[p.Pid] != p {
		t.Fatalf("it was reaped at first sight, or not seen: %v, %v", seen, err)
	}
	reapOnce(seen, func(child int) bool { return child == p.Pid })
	if _, err := record.ProcessOf(p.Pid); err != nil {
		t.Errorf("somebody was robbed: %v", err)
	}
	reapOnce(seen, nil)
	if _, err := record.ProcessOf(p.Pid); !errdefs.IsNotFound(err) {
		t.Errorf("it was not reaped: %v", err)
	}
}

// A program that this process runs is its own to wait for.
func TestReapOnceSparesPrograms(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	reapOnce(reapOnce(nil, nil), nil)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestReapStrays(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); ReapStrays(ctx, 20*time.Millisecond, nil) }()
	p, cmd := sleeper(t)
	time.Sleep(50 * time.Millisecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := record.ProcessOf(p.Pid); errdefs.IsNotFound(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it was not reaped")
		}
	}
	cancel()
	<-done
}

// monitorSocket serves one attach client.
func monitorSocket(t *testing.T, serve func(*net.UnixConn)) string {
	t.Helper()
	path := SocketPath(t.TempDir())
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		if c, err := l.AcceptUnix(); err == nil {
			defer func() { _ = c.Close() }()
			serve(c)
		}
	}()
	return path
}

func TestCopy(t *testing.T) {
	packets := func(c *net.UnixConn) {
		for i := range 500 {
			_, _ = c.Write(append([]byte{2}, fmt.Sprintf("o%d ", i)...))
			_, _ = c.Write(append([]byte{3}, fmt.Sprintf("e%d ", i)...))
			_, _ = c.Write([]byte{9, 'x'})
		}
	}
	var wantOut, wantErr string
	for i := range 500 {
		wantOut += fmt.Sprintf("o%d ", i)
		wantErr += fmt.Sprintf("e%d ", i)
	}
	for _, policy := range []Policy{Block, Drop} {
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprintf("policy %d, left open %v", policy, open), func(t *testing.T) {
				ended, leave := make(chan struct{}), make(chan struct{})
				defer close(leave)
				path := monitorSocket(t, func(c *net.UnixConn) {
					packets(c)
					if open {
						close(ended)
						<-leave
					}
				})
				a, err := Connect(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = a.Close() }()
				var out, errs strings.Builder
				o := Output{Stdout: &out, Stderr: &errs, Policy: policy}
				if open { // else its end would be kept, and this monitor is a process that goes on
					o.Ended = ended
				}
				err = a.Copy(t.Context(), o)
				if err != nil || out.String() != wantOut || errs.String() != wantErr {
					t.Errorf("%v, %q, %q", err, out.String(), errs.String())
				}
			})
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestCopySinkFails(t *testing.T) {
	serve := func(c *net.UnixConn) {
		_, _ = c.Write([]byte("\x02out"))
		_, _ = c.Write([]byte("\x03err"))
	}
	for policy, want := range map[Policy]error{Block: io.ErrClosedPipe, Drop: nil} {
		a, err := Connect(t.Context(), monitorSocket(t, serve))
		if err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		if err := a.Copy(t.Context(), Output{Stdout: failing{}, Stderr: &errs, Policy: policy}); !errors.Is(err, want) {
			t.Errorf("policy %d: %v", policy, err)
		}
		if policy == Drop && errs.String() != "err" {
			t.Errorf("the other stream got %q", errs.String())
		}
		_ = a.Close()
	}
}

// stuck is a sink that never returns while the test runs.
type stuck struct{ until chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.until; return len(p), nil }

func TestCopyEndsWithItsContext(t *testing.T) {
	for _, policy := range []Policy{Block, Drop} {
		leave := make(chan struct{})
		a, err := Connect(t.Context(), monitorSocket(t, func(c *net.UnixConn) {
			_, _ = c.Write([]byte("\x02out"))
			<-leave
		}))
		if err != nil {
			t.Fatal(err)
		}
		sink := stuck{leave}
		out := Output{Policy: policy}
		if policy == Drop {
			out.Stdout = sink
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := a.Copy(ctx, out); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("policy %d: %v", policy, err)
		}
		cancel()
		close(leave)
		_ = a.Close()
	}
}

// A client that takes nothing is given up in time, and one that is slow is not.
func TestF44ClientIsGivenUp(t *testing.T) {
	five := func(c *net.UnixConn) {
		for range 5 {
			_, _ = c.Write([]byte("\x02out"))
		}
	}
	leave := make(chan struct{})
	defer close(leave)
	a, err := Connect(t.Context(), monitorSocket(t, five))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Copy(t.Context(), Output{Stdout: stuck{leave}, Patience: 50 * time.Millisecond}); !errors.Is(err, ErrClientStuck) {
		t.Errorf("a client that takes nothing: %v", err)
	}
	_ = a.Close()
	if a, err = Connect(t.Context(), monitorSocket(t, five)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	var got slow
	if err := a.Copy(t.Context(), Output{Stdout: &got, Patience: 5 * time.Second}); err != nil || got.String() != strings.Repeat("out", 5) {
		t.Errorf("a slow one: %v, %q", err, got.String())
	}
}

// slow is a sink that takes its time.
type slow struct{ strings.Builder }

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Builder.Write(p)
}

func TestDropCountsWhatItDrops(t *testing.T) {
	release := make(chan struct{})
	var got, dropped int64
	deliver, finish := buffered(t.Context(), Output{
		Stdout: writeFunc(func(p []byte) { <-release; got += int64(len(p)) }), Buffer: 1000,
		Dropped: func(n int64) { dropped += n },
	})
	for range 100 {
		if err := deliver(streamStdout, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := finish(); err != nil {
		t.Fatal(err)
	}
	if got+dropped != 10_000 || got > 1100 || got < 1000 {
		t.Errorf("%d arrived, %d dropped", got, dropped)
	}
}

type writeFunc func([]byte)

func (f writeFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
