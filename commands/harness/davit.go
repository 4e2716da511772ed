package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Davit runs the built binary on roots of its own. The zero value is not
// usable. It may be used by several goroutines at once.
type Davit struct {
	Bin   string
	Roots Roots
	Env   []string // added to the roots' own
}

// Result is what one run of a program gave.
type Result struct {
	Stdout, Stderr string
	Code           int // as a shell would say it: 128+n for a signal
	Took           time.Duration
}

// Line returns standard output without the white space around it.
func (r Result) Line() string { return strings.TrimSpace(r.Stdout) }

// Command prepares a run with the roots' environment and nothing of the
// host's davit or container configuration.
func (d Davit) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.Bin, args...)
	cmd.Env = d.Environ()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Environ is the environment of Command.
func (d Davit) Environ() []string {
	own := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		for _, p := range []string{"DAVIT_", "CONTAINERS_", "REGISTRY_AUTH_FILE=", "HOME=", "TMPDIR="} {
			if strings.HasPrefix(kv, p) {
				return true
			}
		}
		return false
	})
	return slices.Concat(own, d.Roots.Env(), d.Env)
}

// Run runs davit to its end. An exit code other than 0 is not an error: an
// error means that it could not be run, or that ctx ended.
func (d Davit) Run(ctx context.Context, args ...string) (Result, error) {
	return Capture(d.Command(ctx, args...))
}

// Capture runs cmd to its end and collects what it prints. Each of the screens
// is given both streams as they come.
func Capture(cmd *exec.Cmd, screens ...io.Writer) (Result, error) {
	var out, errs bytes.Buffer
	screen := &lockedWriter{to: io.MultiWriter(screens...)}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, screen), io.MultiWriter(&errs, screen)
	if len(screens) == 0 {
		cmd.Stdout, cmd.Stderr = &out, &errs
	}
	began := time.Now()
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String(), Took: time.Since(began)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.Code = ExitCode(exit.ProcessState)
		return r, nil
	}
	return r, err
}

// lockedWriter is a writer for several goroutines.
type lockedWriter struct {
	mu sync.Mutex
	to io.Writer
}

// Write writes whole slices, one after the other.
func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// ExitCode says how a process ended as a shell would: 128+n for signal n.
func ExitCode(s *os.ProcessState) int {
	if sig := signalOf(s); sig != 0 {
		return 128 + sig
	}
	return s.ExitCode()
}

// Binary returns the davit to test: DAVIT_BIN where that is set, else one
// built from this source tree into dir.
func Binary(ctx context.Context, dir string) (string, error) {
	return binary(ctx, "DAVIT_BIN", filepath.Join(dir, "davit"), "containers_image_openpgp")
}

// FaultsBinary is Binary for a davit with failpoints, and DAVIT_FAULTS_BIN.
func FaultsBinary(ctx context.Context, dir string) (string, error) {
	return binary(ctx, "DAVIT_FAULTS_BIN", filepath.Join(dir, "davit-faults"), "containers_image_openpgp,failpoints")
}

func binary(ctx context.Context, variable, path, tags string) (string, error) {
	if bin := os.Getenv(variable); bin != "" {
		if _, err := os.Stat(bin); err != nil {
			return "", fmt.Errorf("%s: %w", variable, err)
		}
		return filepath.Abs(bin)
	}
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("finding the source tree: no caller information")
	}
	top := filepath.Dir(filepath.Dir(filepath.Dir(here)))
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-tags", tags, "-o", path, "./cmd/davit")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building davit: %w\n%s", err, out)
	}
	return path, nil
}
