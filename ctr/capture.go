package ctr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// OutputLimit is how much of each output stream ExecSync keeps. The CRI says 16
// MB (api.proto, ExecSyncResponse), and the kubelet takes no answer over 16 MiB:
// what is between leaves room for the other stream and the message around them.
const OutputLimit = 16_000_000

// answerLimit bounds both streams together.
const answerLimit = 16<<20 - 64<<10

// Output is what a process that ran to its end has written, the beginning of
// each stream.
type Output struct {
	Stdout, Stderr []byte
	// Code is the exit code, 128+n for signal n.
	Code int
	// Dropped counts the bytes that were thrown away.
	Dropped int64
}

// ExecSync runs a process in a running container to its end, as Exec does, and
// returns what it wrote, at most OutputLimit of each stream: the rest is thrown
// away and the process goes on. e's streams but Stdin are not used. A process
// that outlives e.Timeout is killed with its children, and the error wraps
// context.DeadlineExceeded.
func (c *sessions) ExecSync(ctx context.Context, id string, e Exec) (Output, error) {
	whole := &budget{left: answerLimit}
	stdout, stderr := &capped{limit: OutputLimit, whole: whole}, &capped{limit: OutputLimit, whole: whole}
	e.Streams.Stdout, e.Streams.Stderr = stdout, stderr
	code, err := c.Exec(ctx, id, e)
	if err != nil && e.Timeout > 0 && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("command did not end within %s: %w", e.Timeout, err)
	}
	return Output{
		Stdout: stdout.kept, Stderr: stderr.kept, Code: code, Dropped: stdout.dropped + stderr.dropped,
	}, err
}

// budget is what the streams of one answer share.
type budget struct {
	mu   sync.Mutex
	left int
}

// take gives up to n bytes.
func (b *budget) take(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, b.left)
	b.left -= n
	return n
}

// capped is a writer that keeps the beginning of what is written.
type capped struct {
	limit   int
	whole   *budget
	kept    []byte
	dropped int64
}

// Write never fails and never waits.
func (w *capped) Write(p []byte) (int, error) {
	n := w.whole.take(min(len(p), w.limit-len(w.kept)))
	w.kept = append(w.kept, p[:n]...)
	w.dropped += int64(len(p) - n)
	return len(p), nil
}

// lastWords is how long a client may take, once the container has ended, to take
// what waits for it.
const lastWords = time.Minute

// AttachLossy attaches a client that is far away to a running container, until
// the container ends (nil) or ctx does. It never holds the container up: what the
// client does not take in time is lost, and s.Dropped, which must be set, is
// told. Input to a container without a stdin is read and thrown away. Reading
// from the client must end once this has returned.
func (c *sessions) AttachLossy(ctx context.Context, id string, s Streams) error {
	k, err := c.Runs(ctx, id)
	if err != nil {
		return err
	}
	if s.Stdin != nil && !k.Config.Process.Stdin {
		stdin := s.Stdin
		go func() { _, _ = io.Copy(io.Discard, stdin) }()
		s.Stdin = nil
	}
	session, err := c.Attach(ctx, id, s)
	if err != nil {
		return err
	}
	own, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() {
		// Where it cannot be watched, the monitor's own end is the session's.
		if _, err := c.Wait(own, id); err != nil {
			return
		}
		session.Ended()
		timer := time.NewTimer(lastWords)
		defer timer.Stop()
		select {
		case <-own.Done():
		case <-timer.C:
			stop()
		}
	})
	_, err = session.Wait(own)
	if own.Err() != nil {
		return ctx.Err()
	}
	return err
}
