package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// attach runs a shell with a terminal, attaches to it, types, leaves it with
// ctrl-p ctrl-q, comes back and ends it.
func (d *demo) attach(ctx context.Context) error {
	image := d.registry.Ref("busybox:latest")
	if err := d.step(ctx, step{args: words("run", "-dit", "--pod", "shop", "--name", "shell", image, "sh"), want: `^` + id + `$`}); err != nil {
		return err
	}
	err := d.session(ctx, words("attach", "shell"), 0,
		typing{keys: "echo $((6 * 7)) on $(hostname)\n", see: `42 on shop`},
		typing{keys: "stty size\n", see: `30 100`},
		typing{keys: "\x10\x11", shown: "ctrl-p ctrl-q"},
	)
	if err != nil {
		return err
	}
	if err := d.step(ctx, step{args: words("ps", "--format", "{{.Names}}: {{.State}}", "--filter", "name=shell"), want: `^shell: running$`}); err != nil {
		return err
	}
	return d.session(ctx, words("attach", "shell"), 3, typing{keys: "exit 3\n"})
}

// typing is what is typed into a terminal, and what must be on the screen then.
type typing struct {
	keys  string
	see   string // regular expression
	shown string // how keys are named where they are not letters
}

// session runs a davit command on a terminal of 30 rows and 100 columns.
func (d *demo) session(ctx context.Context, args []string, code int, types ...typing) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d.show(args)
	s, err := startSession(d.davit.Command(ctx, args...))
	if err != nil {
		return err
	}
	defer s.close()
	for _, t := range types {
		if err := s.typeIn(ctx, t); err != nil {
			return fmt.Errorf("%s: %w\nthe screen:\n%s", typed(args), err, s.text())
		}
	}
	got, err := s.wait()
	d.print(clean(s.text()))
	for _, t := range types {
		if t.shown != "" {
			d.print("(typed: " + t.shown + ")")
		}
	}
	if err != nil {
		return fmt.Errorf("running %s: %w", typed(args), err)
	}
	if got != code {
		return fmt.Errorf("%s ended with exit code %d, want %d", typed(args), got, code)
	}
	d.played++
	return nil
}

// session is a program on a terminal. Its screen is read by a goroutine that
// ends when the terminal is closed.
type session struct {
	cmd    *exec.Cmd
	screen *os.File
	read   chan struct{}

	mu  sync.Mutex
	buf bytes.Buffer
}

func startSession(cmd *exec.Cmd) (*session, error) {
	screen, terminal, err := harness.OpenPTY(30, 100)
	if err != nil {
		return nil, err
	}
	defer terminal.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s := &session{cmd: cmd, screen: screen, read: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting davit on a terminal: %w", err), screen.Close())
	}
	go func() {
		defer close(s.read)
		_, _ = io.Copy(lockedWriter{s}, screen) // ends with EIO when the last terminal is closed
	}()
	return s, nil
}

type lockedWriter struct{ s *session }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.buf.Write(p)
}

func (s *session) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// typeIn types and waits until the screen shows what it must. A shell that was
// attached to shows its prompt again only after a key, so nothing is waited
// for before.
func (s *session) typeIn(ctx context.Context, t typing) error {
	if _, err := io.WriteString(s.screen, t.keys); err != nil {
		return fmt.Errorf("typing: %w", err)
	}
	if t.see == "" {
		return nil
	}
	see := regexp.MustCompile(t.see)
	for !see.MatchString(s.text()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the terminal never showed %q", t.see)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (s *session) wait() (int, error) {
	err := s.cmd.Wait()
	select {
	case <-s.read:
	case <-time.After(time.Second):
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return harness.ExitCode(s.cmd.ProcessState), nil
}

func (s *session) close() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	_ = s.screen.Close()
	<-s.read
}

// clean takes the carriage returns and control sequences out of a screen.
func clean(screen string) string {
	escapes := regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")
	return strings.TrimSpace(strings.ReplaceAll(escapes.ReplaceAllString(screen, ""), "\r", ""))
}
