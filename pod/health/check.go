package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
)

// Containers are what checks are run in. *ctr.Controller is one.
type Containers interface {
	Get(ctx context.Context, id string) (ctr.Container, error)
	Exec(ctx context.Context, id string, e ctr.Exec) (int, error)
	UpdateHealth(ctx context.Context, k ctr.Container, f func(ctr.HealthState) ctr.HealthState) (ctr.HealthState, error)
	AwaitEnd(ctx context.Context, k ctr.Container, settled bool) error
	Fell(ctx context.Context, id string) error
}

// Outcome is what a check has shown.
type Outcome struct {
	ctr.HealthResult
	// State is the container's health with it.
	State ctr.HealthState
}

// failed is the exit code of a check that has none.
const failed = -1

// dying is how long a container may take to be gone whose check was killed: the
// kernel kills the processes of a PID namespace before the first one is seen dead.
const dying = time.Second

// Check runs a container's health command once, within its time, and writes down
// what it has shown. A check that is under way when the container ends has shown
// nothing: that is ErrFailedPrecondition, as is a container that does not run or
// has no health command.
func Check(ctx context.Context, c Containers, id string) (Outcome, error) {
	k, err := c.Get(ctx, id)
	if err != nil {
		return Outcome{}, err
	}
	h := k.Config.Health
	if h == nil {
		return Outcome{}, fmt.Errorf("container %q has no health check: %w", k.Config.Name, errdefs.ErrFailedPrecondition)
	}
	if k.Status.State != ctr.Running {
		return Outcome{}, fmt.Errorf("container %q is %s, not running: %w", k.Config.Name, k.Status.State, errdefs.ErrFailedPrecondition)
	}
	begun := time.Now()
	var words head
	code, err := c.Exec(ctx, id, ctr.Exec{
		Args: command(h.Test), Timeout: h.Timeout, Streams: ctr.Streams{Stdout: &words, Stderr: &words},
	})
	if ctx.Err() != nil {
		return Outcome{}, ctx.Err()
	}
	late := errors.Is(err, context.DeadlineExceeded)
	if (err != nil && !late && codeOf(err) == failed) || code == 128+9 {
		if ended(ctx, c, k) {
			return Outcome{}, fmt.Errorf("container %q has ended: %w", k.Config.Name, errdefs.ErrFailedPrecondition)
		}
	}
	r := ctr.HealthResult{Start: begun, End: time.Now(), ExitCode: code, Output: words.String()}
	switch {
	case late:
		r.ExitCode, r.Output = failed, joined(fmt.Sprintf("the check did not end within %s", h.Timeout), r.Output)
	case err != nil:
		r.ExitCode, r.Output = codeOf(err), joined(err.Error(), r.Output)
	}
	if r.ExitCode != 0 && ending(ctx, c, k) {
		return Outcome{}, fmt.Errorf("container %q is being stopped: %w", k.Config.Name, errdefs.ErrFailedPrecondition)
	}
	counts := age(k.Status) >= h.StartPeriod
	state, err := c.UpdateHealth(ctx, k, func(s ctr.HealthState) ctr.HealthState { return next(s, r, counts, h.Retries) })
	return Outcome{HealthResult: r, State: state}, err
}

// next is a container's health after a check. A failure counts when the start
// period is over or a check has passed. The very first check comes with the start
// and can only show that the container is healthy already.
func next(s ctr.HealthState, r ctr.HealthResult, counts bool, retries int) ctr.HealthState {
	first := len(s.Log) == 0
	log := append(append([]ctr.HealthResult(nil), s.Log...), r)
	s.Log = log[max(0, len(log)-ctr.HealthLog):]
	switch {
	case r.ExitCode == 0:
		s.Status, s.FailingStreak = ctr.Healthy, 0
	case s.Status == ctr.HealthStarting && (!counts || first):
	default:
		s.FailingStreak++
		if s.FailingStreak >= max(1, retries) {
			s.Status = ctr.Unhealthy
		}
	}
	return s
}

// ended tells whether a container whose check was killed has ended, or is about to.
func ended(ctx context.Context, c Containers, k ctr.Container) bool {
	ctx, cancel := context.WithTimeout(ctx, dying)
	defer cancel()
	return c.AwaitEnd(ctx, k, false) == nil
}

// age is how long a container's process has been there.
func age(s ctr.Status) time.Duration {
	old, err := s.Process().Age()
	if err != nil {
		return time.Since(s.StartedAt)
	}
	return old
}

// ending tells whether a container is frozen, gone, or somebody is stopping it.
func ending(ctx context.Context, c Containers, k ctr.Container) bool {
	now, err := c.Get(ctx, k.ID)
	if err != nil {
		return errdefs.IsNotFound(err)
	}
	return now.Status.State != ctr.Running || now.Op != nil && (now.Op.Kind == "stop" || now.Op.Kind == "remove")
}

// command is what a test runs.
func command(test []string) []string {
	if test[0] == "CMD-SHELL" {
		return []string{"/bin/sh", "-c", strings.Join(test[1:], " ")}
	}
	return test[1:]
}

// codeOf is the exit code that an error stands for.
func codeOf(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return failed
}

// joined puts what there is to say before what the command has said.
func joined(say, said string) string {
	text := strings.TrimSuffix(say+"\n"+said, "\n")
	return text[:min(len(text), ctr.HealthOutput)]
}

// head keeps the beginning of what two streams write.
type head struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

// Write never fails and never waits.
func (w *head) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept.Write(p[:min(len(p), ctr.HealthOutput-w.kept.Len())])
	return len(p), nil
}

// String is valid UTF-8.
func (w *head) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.ToValidUTF8(w.kept.String(), "?")
}
