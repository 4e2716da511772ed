package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/fsnotify/fsnotify"

	"github.com/davit-containers/davit/ctr"
)

// Pod is what is needed of the pod that is looked after.
type Pod interface {
	// ToCareFor lists its containers that are to be started again or are checked.
	ToCareFor(ctx context.Context) ([]ctr.Container, error)
	// StartAgain starts one whose restart is due. ErrFailedPrecondition if it is
	// not any more.
	StartAgain(ctx context.Context, id string) error
	// Settle settles one that has ended, unless somebody else is at work on it.
	Settle(ctx context.Context, k ctr.Container) error
	// Stop stops one as its user would.
	Stop(ctx context.Context, id string, o ctr.StopOptions) error
}

// Options are what a timer process works with.
type Options struct {
	// Dir is the pod's run folder.
	Dir string
	// Inherited says that the process was begun by Ensure.
	Inherited  bool
	Pod        Pod
	Containers Containers
	Log        *slog.Logger
}

// Run looks after a pod's containers until there is nothing to wait for, ctx ends,
// or the pod is gone. It does nothing where another process does.
func Run(ctx context.Context, o Options) error {
	take := func() (*os.File, error) { return lock(o.Dir) }
	if o.Inherited {
		take = inherited
	}
	for {
		f, err := take()
		if errors.Is(err, errLocked) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("locking %q: %w", o.Dir, err)
		}
		err = (&timer{o: o, on: map[string]*patient{}}).run(ctx)
		unlock(f)
		if err != nil || ctx.Err() != nil {
			return err
		}
		// What was put on record after the last look, by somebody who found the
		// lock taken.
		left, err := o.Pod.ToCareFor(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		take = func() (*os.File, error) { return lock(o.Dir) }
	}
}

// pokePoll is how often a timer process looks at its containers where inotify has
// no watches left.
const pokePoll = 2 * time.Second

// timer is a timer process at work.
type timer struct {
	o    Options
	on   map[string]*patient
	over chan string // IDs of patients that need nothing any more
}

// run returns when no container of the pod is to be looked after.
func (t *timer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	t.over = make(chan string)
	pokes, done := t.watch()
	defer done()
	for {
		list, err := t.o.Pod.ToCareFor(ctx)
		if err != nil {
			return err
		}
		for _, k := range list {
			if t.on[k.ID] != nil {
				continue
			}
			p := &patient{o: t.o, id: k.ID, poke: make(chan struct{}, 1)}
			t.on[k.ID] = p
			all.Go(func() {
				p.lookAfter(ctx)
				select {
				case t.over <- p.id:
				case <-ctx.Done():
				}
			})
		}
		if len(t.on) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case id := <-t.over:
			delete(t.on, id)
		case gone := <-pokes:
			if gone {
				return nil
			}
			for _, p := range t.on {
				select {
				case p.poke <- struct{}{}:
				default: // it is about to look
				}
			}
		}
	}
}

// watch tells of pokes, and, by true, of the end of the pod. It begins before the
// first look at the containers.
func (t *timer) watch() (pokes <-chan bool, done func()) {
	out, stop := make(chan bool), make(chan struct{})
	file := filepath.Join(t.o.Dir, lockFile)
	var events <-chan fsnotify.Event
	var lost <-chan error
	var poll <-chan time.Time
	end := func() {}
	w, err := fsnotify.NewWatcher()
	if err == nil {
		end = func() { _ = w.Close() }
		if err = w.Add(t.o.Dir); err == nil {
			events, lost = w.Events, w.Errors
		}
	}
	if err != nil {
		ticker := time.NewTicker(pokePoll)
		poll = ticker.C
		closeWatch := end
		end = func() { ticker.Stop(); closeWatch() }
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			gone := false
			select {
			case <-stop:
				return
			case e := <-events:
				// The folder itself is not seen to go as long as its file is open.
				gone = e.Name == file && e.Has(fsnotify.Remove)
				if !gone && (e.Name != file || !e.Has(fsnotify.Chmod)) {
					continue
				}
			case <-lost:
			case <-poll:
				_, err := os.Lstat(t.o.Dir)
				gone = errors.Is(err, fs.ErrNotExist)
			}
			select {
			case out <- gone:
			case <-stop:
				return
			}
		}
	})
	return out, func() {
		close(stop)
		watching.Wait()
		end()
	}
}

// patient is a container that is looked after.
type patient struct {
	o    Options
	id   string
	poke chan struct{}

	start   int       // the start that was checked last
	checked time.Time // when that was, on the monotonic clock
}

// lookAfter waits for what a container needs next and does it, until it needs
// nothing.
func (p *patient) lookAfter(ctx context.Context) {
	for ctx.Err() == nil {
		k, err := p.o.Containers.Get(ctx, p.id)
		if err != nil {
			p.warn(ctx, "reading it", err)
			return
		}
		wait, due := k.RestartDue(time.Now())
		switch {
		case due && wait > 0:
			// When it ended has to be on record for the wait to end: no exit command
			// comes of one whose monitor was killed.
			if k.Status.Mounted != "" {
				p.warn(ctx, "settling it", p.o.Pod.Settle(ctx, k))
			}
			p.sleep(ctx, wait)
		case due:
			p.try(ctx, "starting it again", p.o.Pod.StartAgain(ctx, p.id))
		case k.Checked():
			p.health(ctx, k)
		default:
			return
		}
	}
}

// tryDelay is how long nothing is tried after something could not be done, beside
// what the record says.
const tryDelay = time.Second

// try waits after an error, so that what goes on failing is not tried without end.
func (p *patient) try(ctx context.Context, what string, err error) {
	if err == nil {
		return
	}
	p.warn(ctx, what, err)
	p.sleep(ctx, tryDelay)
}

func (p *patient) warn(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		p.o.Log.Warn("looking after a container", "container", p.id, "doing", what, "error", err)
	}
}

// sleep waits for a time, at most until there may be something new.
func (p *patient) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-p.poke:
	case <-t.C:
	}
}

// health waits for a container's next check, or its end, and checks it.
func (p *patient) health(ctx context.Context, k ctr.Container) {
	if wait := p.untilCheck(k); wait > 0 {
		p.awaitCheck(ctx, k, wait)
		return
	}
	p.start, p.checked = k.Status.Start, time.Now()
	if k.Status.State == ctr.Paused {
		return
	}
	o, err := Check(ctx, p.o.Containers, p.id)
	p.checked = time.Now()
	if errdefs.IsFailedPrecondition(err) {
		return // it has ended, or was paused
	}
	if err != nil {
		p.try(ctx, "checking it", err)
		return
	}
	if o.ExitCode != 0 && o.State.Status == ctr.Unhealthy {
		p.act(ctx, k)
	}
}

// act does what is to be done about a container that is unhealthy.
func (p *patient) act(ctx context.Context, k ctr.Container) {
	switch k.Config.Health.OnFailure {
	case ctr.HealthKill:
		p.try(ctx, "killing it, which is unhealthy", p.o.Containers.Fell(ctx, p.id))
	case ctr.HealthStop:
		p.try(ctx, "stopping it, which is unhealthy", p.o.Pod.Stop(ctx, p.id, ctr.StopOptions{}))
	case ctr.HealthRestart:
		// That it is to be started again is on record before it is stopped.
		err := p.o.Pod.Stop(ctx, p.id, ctr.StopOptions{Again: true})
		if err == nil {
			err = p.o.Pod.StartAgain(ctx, p.id)
		}
		p.try(ctx, "restarting it, which is unhealthy", err)
	}
}

// untilCheck is how long it is until the next check: none before the first of a
// start. Of those that another process has run the record tells, within what a
// clock that was set may make of it.
func (p *patient) untilCheck(k ctr.Container) time.Duration {
	every := k.Config.Health.Interval
	if p.start == k.Status.Start {
		return every - time.Since(p.checked)
	}
	s := k.Status.Health
	if s == nil || len(s.Log) == 0 {
		return 0
	}
	wait := min(max(0, every-time.Since(s.Log[len(s.Log)-1].End)), every)
	p.start, p.checked = k.Status.Start, time.Now().Add(wait-every)
	return wait
}

// awaitCheck returns when it is time for a check, when the container has ended and
// is settled, or when there may be something new.
func (p *patient) awaitCheck(ctx context.Context, k ctr.Container, wait time.Duration) {
	timed, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if ended, poked := p.awaitEnd(timed, k, false); !ended || poked {
		return
	}
	// Its exit command comes, or is killed: its monitor stays as long.
	p.awaitEnd(ctx, k, true)
}

// awaitEnd waits for a container's end, at most until there may be something new.
func (p *patient) awaitEnd(ctx context.Context, k ctr.Container, settled bool) (ended, poked bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := make(chan error, 1)
	go func() { end <- p.o.Containers.AwaitEnd(ctx, k, settled) }()
	select {
	case err := <-end:
		return err == nil, false
	case <-p.poke:
		cancel()
		return <-end == nil, true
	}
}
