package pod

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// flightTimeout bounds work that has lost all who waited for it.
const flightTimeout = 4 * time.Minute

// errStopped is why work was cancelled whose object is to be stopped or removed.
var errStopped = fmt.Errorf("it is to be stopped: %w", errdefs.ErrFailedPrecondition)

// flights are works under way in this process that any number of callers wait
// for: each is done once, on a goroutine of its own, and goes on when those who
// wait for it give up. Who runs them ends with drain.
type flights struct {
	mu     sync.Mutex
	byKey  map[string]*flight
	closed bool
	wg     sync.WaitGroup
}

// flight is one work. Its result may be read once done is closed.
type flight struct {
	cancel context.CancelCauseFunc
	object string // the ID of what it makes, or makes something in, once that is known
	done   chan struct{}
	id     string
	err    error
}

// work makes an object and returns its ID. It tells the ID by known as soon as
// there is one, or that of the sandbox that the object is for, so that halt finds
// it.
type work func(ctx context.Context, known func(id string)) (string, error)

// join waits for the work of a key, which is begun unless it is under way. When
// ctx ends, join returns its error and the work goes on.
func (f *flights) join(ctx context.Context, key string, w work) (string, error) {
	return f.joinFor(ctx, flightTimeout, key, w)
}

// joinFor is join for work that may take longer.
func (f *flights) joinFor(ctx context.Context, limit time.Duration, key string, w work) (string, error) {
	f.mu.Lock()
	one := f.byKey[key]
	if one == nil {
		if f.closed {
			f.mu.Unlock()
			return "", fmt.Errorf("davit is stopping: %w", errdefs.ErrUnavailable)
		}
		one = f.begin(ctx, limit, key, w)
	}
	f.mu.Unlock()
	select {
	case <-one.done:
		return one.id, one.err
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for work that goes on: %w", context.Cause(ctx))
	}
}

// begin starts a work; f.mu is held.
func (f *flights) begin(ctx context.Context, limit time.Duration, key string, w work) *flight {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	one := &flight{cancel: cancel, done: make(chan struct{})}
	if f.byKey == nil {
		f.byKey = map[string]*flight{}
	}
	f.byKey[key] = one
	f.wg.Go(func() {
		ctx, stop := context.WithTimeout(ctx, failpoint.Deadline(limit))
		defer stop()
		defer cancel(nil)
		id, err := w(ctx, func(id string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			one.object = id
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		one.id, one.err = id, err
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStopped) {
			one.err = errors.Join(cause, err)
		}
		delete(f.byKey, key)
		close(one.done)
	})
	return one
}

// halt cancels the works that make an object or make something in it, as far as
// they are under way here, and waits for them to have been undone.
func (f *flights) halt(ctx context.Context, id string) error {
	f.mu.Lock()
	var found []*flight
	for _, one := range f.byKey {
		if one.object == id {
			found = append(found, one)
			one.cancel(errStopped)
		}
	}
	f.mu.Unlock()
	for _, one := range found {
		select {
		case <-one.done:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the making of %q to be undone: %w", id, context.Cause(ctx))
		}
	}
	return nil
}

// drain refuses new works and waits for those under way. When ctx ends they are
// cancelled, which undoes them.
func (f *flights) drain(ctx context.Context) {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	defer context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, one := range f.byKey {
			one.cancel(context.Cause(ctx))
		}
	})()
	f.wg.Wait()
}
