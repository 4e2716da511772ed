package ctrcmd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/ctr"
)

// openPTY is a terminal of 24 rows and 80 columns.
func openPTY(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, terminal, err := harness.OpenPTY(24, 80)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() {
		_ = screen.Close()
		_ = terminal.Close()
	})
	return screen, terminal
}

func isRaw(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0
}

func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(5 * time.Second):
		t.Fatalf("%s: nothing came", what)
	}
	panic("not reached")
}

func TestSessionTerminal(t *testing.T) {
	screen, tty := openPTY(t)
	env := cli.NewEnv(cli.Streams{In: tty, Out: tty, Err: io.Discard}, nil)
	if size := consoleSize(env); size != (ctr.Size{Width: 80, Height: 24}) {
		t.Errorf("size at the start: %v", size)
	}
	s, err := openSession(env, sessionConfig{TTY: true, Stdin: true, Stdout: true, Keys: "ctrl-p,ctrl-q"})
	if err != nil {
		t.Fatal(err)
	}
	if !isRaw(t, tty) {
		t.Error("the terminal is not raw")
	}
	if diff := cmp.Diff([]byte{16, 17}, s.streams.DetachKeys); diff != "" {
		t.Error(diff)
	}
	if size := within(t, "first size", s.streams.Resize); size != (ctr.Size{Width: 80, Height: 24}) {
		t.Errorf("first size %v", size)
	}
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	if size := within(t, "second size", s.streams.Resize); size != (ctr.Size{Width: 100, Height: 30}) {
		t.Errorf("second size %v", size)
	}
	for range 2 {
		if err := s.close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if isRaw(t, tty) {
		t.Error("the terminal stays raw")
	}
}

func TestSessionWithoutTerminal(t *testing.T) {
	_, tty := openPTY(t)
	tests := []struct {
		name   string
		config sessionConfig
		in     io.Reader
		out    io.Writer
		size   bool
		keys   bool
	}{
		{name: "-t, and stdin is a file", config: sessionConfig{TTY: true, Stdin: true, Stdout: true}, in: &bytes.Buffer{}, out: tty, size: true, keys: true},
		{name: "-t, and nothing is a terminal", config: sessionConfig{TTY: true, Stdin: true, Stdout: true}, in: &bytes.Buffer{}, out: io.Discard, keys: true},
		{name: "-i of a file", config: sessionConfig{Stdin: true, Stdout: true}, in: &bytes.Buffer{}, out: io.Discard},
		{name: "-i on a terminal", config: sessionConfig{Stdin: true, Stdout: true}, in: tty, out: tty},
		{name: "-t without -i", config: sessionConfig{TTY: true, Stdout: true}, in: tty, out: tty, size: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := cli.NewEnv(cli.Streams{In: tt.in, Out: tt.out, Err: io.Discard}, nil)
			tt.config.Keys = "ctrl-p,ctrl-q"
			s, err := openSession(env, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			if isRaw(t, tty) {
				t.Error("the terminal is raw")
			}
			if got := s.streams.Resize != nil; got != tt.size {
				t.Errorf("sizes are followed: %v", got)
			}
			if got := s.streams.DetachKeys != nil; got != tt.keys {
				t.Errorf("the input is searched for the detach keys: %v", got)
			}
			if got := s.streams.Stdin != nil; got != tt.config.Stdin {
				t.Errorf("standard input: %v", got)
			}
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDetachKeys(t *testing.T) {
	tests := []struct {
		keys string
		want []byte
		bad  bool
	}{
		{keys: "ctrl-p,ctrl-q", want: []byte{16, 17}},
		{keys: "ctrl-@", want: []byte{0}},
		{keys: "a,b", want: []byte("ab")},
		{keys: ""},
		{keys: " "},
		{keys: "ctrl-", bad: true},
		{keys: "ctrl-ä", bad: true},
		{keys: "meta-x", bad: true},
	}
	for _, tt := range tests {
		got, err := detachKeys(tt.keys)
		if (err != nil) != tt.bad || !bytes.Equal(got, tt.want) {
			t.Errorf("%q = %v, %v", tt.keys, got, err)
		}
	}
}

func TestPipeWriter(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	env := cli.NewEnv(cli.Streams{In: nil, Out: w, Err: io.Discard}, nil)
	s, err := openSession(env, sessionConfig{Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	if _, err := s.streams.Stdout.Write([]byte("x")); err != nil || isClosed(s.broken) {
		t.Errorf("write to an open pipe: %v", err)
	}
	_ = r.Close()
	for range 2 {
		if n, err := s.streams.Stdout.Write([]byte("xyz")); n != 3 || err != nil {
			t.Errorf("write to a broken pipe: %d, %v", n, err)
		}
	}
	if !isClosed(s.broken) {
		t.Error("the session does not know that its pipe is broken")
	}
	full := errors.New("disk full")
	p := &pipeWriter{w: writerFunc(func([]byte) (int, error) { return 0, full }), broken: func() { t.Error("not a broken pipe") }}
	if _, err := p.Write([]byte("x")); !errors.Is(err, full) {
		t.Errorf("another error: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestProxiedSignals(t *testing.T) {
	is := map[os.Signal]bool{}
	for _, s := range proxied() {
		is[s] = true
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGTSTP, syscall.SIGCONT, 34, 64} {
		if !is[s] {
			t.Errorf("%s is not passed on", s)
		}
	}
	for _, s := range []syscall.Signal{syscall.SIGCHLD, syscall.SIGURG, syscall.SIGSTOP, syscall.SIGKILL, syscall.SIGPIPE, syscall.SIGWINCH, syscall.SIGTTIN} {
		if is[s] {
			t.Errorf("%s is passed on", s)
		}
	}
}

func TestCatch(t *testing.T) {
	got := make(chan syscall.Signal, 1)
	c := catch([]os.Signal{syscall.SIGUSR1}, func(s syscall.Signal) { got <- s })
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if s := within(t, "signal", got); s != syscall.SIGUSR1 {
		t.Errorf("caught %s", s)
	}
	c.stop()
}

func TestUntilStarted(t *testing.T) {
	cause := &cli.SignalError{Signal: syscall.SIGINT}
	ctx, cancel := context.WithCancelCause(context.Background())
	inner, started := untilStarted(ctx)
	defer started()
	cancel(cause)
	<-inner.Done()
	if context.Cause(inner) != error(cause) {
		t.Errorf("cause %v", context.Cause(inner))
	}
	ctx, cancel = context.WithCancelCause(context.Background())
	inner, started = untilStarted(ctx)
	started()
	cancel(cause)
	time.Sleep(10 * time.Millisecond)
	if inner.Err() != nil {
		t.Error("what was started ends with the command")
	}
}

func TestInsist(t *testing.T) {
	_, tty := openPTY(t)
	for _, tt := range []struct {
		name string
		in   io.Reader
		want []syscall.Signal
	}{
		{"at a terminal", tty, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGINT, syscall.SIGKILL}},
		{"by a program", &bytes.Buffer{}, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGINT}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []syscall.Signal
			deliver := insist(cli.NewEnv(cli.Streams{In: tt.in, Err: io.Discard}, nil), func(s syscall.Signal) { got = append(got, s) })
			for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGINT, syscall.SIGINT} {
				deliver(s)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
