package main

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
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// walker goes through crictl's verbs and keeps a transcript.
type walker struct {
	*stage
	config string // crictl's
	log    io.Writer
	steps  int
	failed []error
}

// step is a command with what it must answer.
type step struct {
	args  []string
	stdin string
	want  string // regular expression over standard output, trimmed; (?s)
	errs  string // and over standard error
	fails bool   // the exit code must not be 0
}

// words makes an argument list read like a command.
func words(w ...string) []string { return w }

// walk goes through crictl's verbs on the running server, and through what the
// command line shows of the same containers meanwhile.
func (s *stage) walk(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.logs, "crictl.log"))
	if err != nil {
		return fmt.Errorf("opening the log of crictl: %w", err)
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	w := &walker{stage: s, log: log, config: filepath.Join(s.dir, "crictl.yaml")}
	if err := os.WriteFile(w.config, fmt.Appendf(nil, "runtime-endpoint: %s\ntimeout: 30\n", s.endpoint()), 0o600); err != nil {
		return fmt.Errorf("configuring crictl: %w", err)
	}
	began := time.Now()
	for _, act := range []func(context.Context) error{
		w.runtimeVerbs, w.imageVerbs, w.podVerbs, w.handMadePods, w.lastVerbs,
	} {
		if err := act(ctx); err != nil {
			w.failed = append(w.failed, err)
			break // the following acts need what this one made
		}
	}
	fmt.Printf("\ncrictl: %d steps, %d failed, in %.0f s\n", w.steps, len(w.failed), time.Since(began).Seconds())
	for _, err := range w.failed {
		fmt.Printf("  FAILED: %v\n", err)
	}
	if len(w.failed) > 0 {
		return fmt.Errorf("%d steps of crictl failed", len(w.failed))
	}
	return nil
}

// command prepares crictl on the server's socket.
func (w *walker) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(w.tools, "crictl"), append([]string{"--config", w.config}, args...)...)
	cmd.Dir = w.dir
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// crictl runs steps; what differs is noted, and the walk goes on.
func (w *walker) crictl(ctx context.Context, steps ...step) {
	for _, s := range steps {
		_ = w.run(ctx, w.command(ctx, s.args...), s)
	}
}

// davit runs steps of the command line.
func (w *walker) davit(ctx context.Context, steps ...step) {
	for _, s := range steps {
		_ = w.run(ctx, w.davitOf.Command(ctx, s.args...), s)
	}
}

// id runs a crictl that prints an ID; the walk cannot go on without it.
func (w *walker) id(ctx context.Context, args ...string) (string, error) {
	before := len(w.failed)
	out := w.run(ctx, w.command(ctx, args...), step{args: args, want: `^[0-9a-f]{64}$`})
	if len(w.failed) > before {
		return "", errors.New("the rest needs that ID")
	}
	return out, nil
}

func (w *walker) run(ctx context.Context, cmd *exec.Cmd, s step) string {
	w.steps++
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if s.stdin != "" {
		cmd.Stdin = strings.NewReader(s.stdin)
	}
	name := filepath.Base(cmd.Path) + " " + strings.Join(s.args, " ")
	fmt.Fprintf(w.log, "\n$ %s\n", name)
	r, err := harness.Capture(cmd, w.log)
	if err == nil {
		err = s.judge(r)
	}
	if err != nil {
		w.failed = append(w.failed, fmt.Errorf("%s: %w", name, err))
		fmt.Fprintf(w.log, "\n!! %v\n", err)
	}
	return r.Line()
}

// judge compares an answer with what a step wants.
func (s step) judge(r harness.Result) error {
	var errs []error
	if (r.Code != 0) != s.fails {
		errs = append(errs, fmt.Errorf("exit code %d: %s", r.Code, short(r.Stderr)))
	}
	for _, stream := range []struct{ name, want, got string }{{"standard output", s.want, r.Line()}, {"standard error", s.errs, strings.TrimSpace(r.Stderr)}} {
		if !regexp.MustCompile(`(?s)` + stream.want).MatchString(stream.got) {
			errs = append(errs, fmt.Errorf("%s: want a match of %q, got %q", stream.name, stream.want, short(stream.got)))
		}
	}
	return errors.Join(errs...)
}

// eventually repeats a step until it is as wanted, for at most the patience.
func (w *walker) eventually(ctx context.Context, patience time.Duration, s step) {
	began := time.Now()
	for time.Since(began) < patience {
		r, err := harness.Capture(w.command(ctx, s.args...))
		if err == nil && s.judge(r) == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.crictl(ctx, s)
}

// background starts a crictl that streams; stop ends it as ^C does and returns
// what it printed.
func (w *walker) background(ctx context.Context, args ...string) (stop func() string, err error) {
	cmd := w.command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting crictl %s: %w", args[0], err)
	}
	return func() string {
		_ = cmd.Process.Signal(syscall.SIGINT)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		_ = cmd.Wait()
		fmt.Fprintf(w.log, "\n$ crictl %s &\n%s", strings.Join(args, " "), out.String())
		return out.String()
	}, nil
}

// expect notes a failure where a text does not match.
func (w *walker) expect(what, text, want string) {
	w.steps++
	if !regexp.MustCompile(`(?s)` + want).MatchString(text) {
		w.failed = append(w.failed, fmt.Errorf("%s: want a match of %q, got %q", what, want, short(text)))
	}
}

// file writes a request as crictl reads it and returns its path.
func (w *walker) file(name string, content any) (string, error) {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", name, err)
	}
	path := filepath.Join(w.dir, name)
	return path, os.WriteFile(path, data, 0o600)
}
