package netw

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// freshness is how long an answer of Ready holds while the folder of networks
	// stays as it is: plugins may change their mind.
	freshness = 10 * time.Second
	// statusTimeout bounds the question to plugins that Ready asks.
	statusTimeout = 5 * time.Second
)

// readiness is the last answer of Ready.
type readiness struct {
	networks string                      // the folder of the host's networks
	status   func(context.Context) error // asks anew

	mu       sync.Mutex
	watched  bool
	asked    time.Time
	err      error
	changes  int // of the folder
	answered int // at which of them
}

// Ready is Status of the network that CRI uses. While Watch runs it answers from
// memory for some seconds, unless the folder of networks has changed.
func (r *readiness) Ready(ctx context.Context) error {
	r.mu.Lock()
	changes := r.changes
	if r.watched && r.answered == changes && time.Since(r.asked) < freshness {
		defer r.mu.Unlock()
		return r.err
	}
	r.mu.Unlock()
	sctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	err := r.status(sctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.err, r.answered = time.Now(), err, changes
	return err
}

// Watch watches the folder of networks, for Ready, until ctx ends. A folder that
// is not there yet is waited for, as long as its parent is there.
func (r *readiness) Watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", r.networks, err)
	}
	defer w.Close()
	dir := filepath.Clean(r.networks)
	if err := w.Add(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("watching %s: %w", dir, err)
	}
	_ = w.Add(dir) // when it appears, otherwise
	r.set(func() { r.watched, r.asked = true, time.Time{} })
	defer r.set(func() { r.watched = false })
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if e.Name == dir {
				_ = w.Add(dir)
			} else if filepath.Dir(e.Name) != dir {
				continue
			}
			r.set(func() { r.changes++ })
		case <-w.Errors: // an overflow: what changed is not known
			r.set(func() { r.changes++ })
		}
	}
}

func (r *readiness) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}
