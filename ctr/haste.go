package ctr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/davit-containers/davit/ctr/record"
)

// A stop that finds another one under way does not wait for that one's grace
// time: it leaves its own deadline in the container's run folder, where the
// first stop sees it.
const hasteFile = "deadline"

// hasten leaves a deadline for a stop that is under way, if there is one.
func (c *stopper) hasten(id string, deadline time.Time) error {
	e, err := c.dir.Get(id)
	if err != nil {
		return fmt.Errorf("container %q: %w", id, err)
	}
	if e.Op == nil || e.Op.Kind != opStop || deadline.IsZero() {
		return nil
	}
	data, err := json.Marshal(deadline)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir.RunDir(id), hasteFile)
	if err := record.WriteAtomic(path, data, record.WriteOptions{Mode: 0o600}); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("hastening the stop of container %q: %w", id, err)
	}
	return nil
}

// hastePoll is how often a stop looks for a shorter one where inotify has no
// watches left.
const hastePoll = 500 * time.Millisecond

// watchHaste delivers the deadlines that later stops leave, until ctx ends; a
// file from before since is an older stop's.
func (c *stopper) watchHaste(ctx context.Context, id string, since time.Time) <-chan time.Time {
	path := filepath.Join(c.dir.RunDir(id), hasteFile)
	var changes <-chan fsnotify.Event
	var poll <-chan time.Time
	done := func() {}
	if w, err := fsnotify.NewWatcher(); err == nil {
		done = func() { _ = w.Close() }
		if w.Add(filepath.Dir(path)) == nil {
			changes = w.Events
		}
	}
	if changes == nil {
		done()
		ticker := time.NewTicker(hastePoll)
		poll, done = ticker.C, ticker.Stop
	}
	out := make(chan time.Time)
	go func() {
		defer done()
		for {
			if at, ok := readHaste(path, since); ok {
				select {
				case <-ctx.Done():
					return
				case out <- at:
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-changes:
			case <-poll:
			}
		}
	}()
	return out
}

// hasteSlack is more than the clock of file times lags behind.
const hasteSlack = 10 * time.Millisecond

func readHaste(path string, since time.Time) (at time.Time, ok bool) {
	fi, err := os.Stat(path)
	if err != nil || fi.ModTime().Before(since.Add(-hasteSlack)) {
		return at, false
	}
	data, err := os.ReadFile(path)
	return at, err == nil && json.Unmarshal(data, &at) == nil
}
