package ctrcmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/moby/term"
	"golang.org/x/sys/unix"
	xterm "golang.org/x/term"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

// sessionConfig says what a client is attached to.
type sessionConfig struct {
	// TTY says that the container has a terminal.
	TTY bool
	// Stdin, Stdout and Stderr are what to attach.
	Stdin, Stdout, Stderr bool
	// Keys are the detach keys as the user gave them.
	Keys string
}

// session is a client's side of a container's streams. Its terminal is raw while
// the session is open.
type session struct {
	streams ctr.Streams
	// broken is closed when nobody reads our output any more.
	broken chan struct{}

	restore func() error
	stop    []func()
	once    sync.Once
	err     error
}

// openSession prepares a client's streams: with a terminal on both sides it
// becomes raw and its size is followed. The caller closes the session on every
// way out.
func openSession(env *cli.Env, c sessionConfig) (*session, error) {
	keys, err := detachKeys(c.Keys)
	if err != nil {
		return nil, err
	}
	s := &session{broken: make(chan struct{}), restore: func() error { return nil }}
	var once sync.Once
	breaks := func() { once.Do(func() { close(s.broken) }) }
	if c.Stdout {
		s.streams.Stdout = &pipeWriter{w: env.Out, broken: breaks}
	}
	if c.Stderr {
		s.streams.Stderr = &pipeWriter{w: env.Err, broken: breaks}
	}
	if c.Stdin {
		s.streams.Stdin = env.In
	}
	// A broken pipe is for us to see, not to die of: the terminal would stay raw
	// and the container running.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	s.stop = append(s.stop, func() { signal.Stop(pipes) })
	if !c.TTY {
		return s, nil
	}
	if c.Stdin { // without a terminal the input is data: any bytes may stand in it
		s.streams.DetachKeys = keys
	}
	if fd, ok := terminal(env.Out, env.In); ok {
		s.follow(fd)
	}
	if in, ok := cli.FD(env.In); ok && c.Stdin && xterm.IsTerminal(in) {
		if err := s.raw(in); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// raw makes the terminal raw until the session is closed.
func (s *session) raw(fd int) error {
	state, err := xterm.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("preparing the terminal: %w", err)
	}
	s.restore = func() error {
		if err := xterm.Restore(fd, state); err != nil {
			return fmt.Errorf("restoring the terminal: %w", err)
		}
		return nil
	}
	return nil
}

// follow sends the terminal's size, now and whenever it changes.
func (s *session) follow(fd int) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	sizes, stop, done := make(chan ctr.Size), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			size, ok := sizeOf(fd)
			to := sizes
			if !ok {
				to = nil
			}
			select {
			case <-stop:
				return
			case to <- size:
				select {
				case <-stop:
					return
				case <-changes:
				}
			case <-changes:
			}
		}
	}()
	s.streams.Resize = sizes
	s.stop = append(s.stop, func() {
		signal.Stop(changes)
		close(stop)
		<-done
	})
}

// close gives the terminal back. It may be called more than once.
func (s *session) close() error {
	s.once.Do(func() {
		for _, stop := range s.stop {
			stop()
		}
		s.err = s.restore()
	})
	return s.err
}

// terminal is the first of the streams that is a terminal.
func terminal(streams ...any) (fd int, ok bool) {
	for _, s := range streams {
		if cli.IsTerminal(s) {
			return cli.FD(s)
		}
	}
	return -1, false
}

// consoleSize is the size that a new terminal is given: the client's.
func consoleSize(env *cli.Env) ctr.Size {
	fd, ok := terminal(env.Out, env.In)
	if !ok {
		return ctr.Size{}
	}
	size, _ := sizeOf(fd)
	return size
}

func sizeOf(fd int) (ctr.Size, bool) {
	w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 || w.Row == 0 {
		return ctr.Size{}, false
	}
	return ctr.Size{Width: w.Col, Height: w.Row}, true
}

// detachKeys reads keys such as "ctrl-p,ctrl-q"; empty are none.
func detachKeys(keys string) ([]byte, error) {
	if strings.TrimSpace(keys) == "" {
		return nil, nil
	}
	b, err := term.ToBytes(keys)
	if err != nil {
		return nil, cli.Usagef("--detach-keys: %q is not a list of keys", keys).
			Hintf("give letters and ctrl- with one of a-z @ [ \\ ] ^ _, such as ctrl-p,ctrl-q")
	}
	return b, nil
}

// pipeWriter writes to one of our streams, and tells when its reader has gone.
// What comes after that is dropped, so that the container is not held up.
type pipeWriter struct {
	w      io.Writer
	broken func()
	gone   bool
}

func (p *pipeWriter) Write(b []byte) (int, error) {
	if p.gone {
		return len(b), nil
	}
	n, err := p.w.Write(b)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		p.gone = true
		p.broken()
		return len(b), nil
	}
	return n, err
}
