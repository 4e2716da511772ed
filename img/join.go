package img

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// pulls are the pulls from registries that are under way in this process.
type pulls struct {
	mu      sync.Mutex
	flights map[string]*flight
}

// flight is one pull that any number of callers wait for. It is not bound to any
// one of their contexts: it ends early when the last of them has given up.
type flight struct {
	waiting int // guarded by pulls.mu
	cancel  context.CancelFunc
	relay   relay
	done    chan struct{} // closed when image and err are there
	image   Image
	err     error
}

// relay hands progress to the caller who began a flight, until that one leaves.
type relay struct {
	mu sync.Mutex
	to func(ProgressEvent)
}

func (r *relay) tell(e ProgressEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.to != nil {
		r.to(e)
	}
}

func (r *relay) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = nil
}

// join pulls ref, or waits for an equal pull that is under way. It returns when
// that has ended or the caller's ctx has; of callers who give up, the last one
// returns when the transfer has been undone.
func (ps *pulls) join(ctx context.Context, ref string, p puller) (Image, error) {
	if err := ctx.Err(); err != nil {
		return Image{}, transferError(ref, "", err)
	}
	key := p.flightKey(ref)
	ps.mu.Lock()
	f, joined := ps.flights[key]
	if !joined {
		f = ps.begin(ctx, key, ref, p)
	}
	f.waiting++
	ps.mu.Unlock()
	own := &progress{ref: ref, to: p.o.Progress}
	if joined {
		own.tell(ProgressEvent{Kind: PullWaiting})
	} else {
		defer f.relay.end()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		if ps.leave(key, f) {
			<-f.done
			if f.err == nil { // it was there before it was cancelled
				return f.image, nil
			}
		}
		return Image{}, transferError(ref, "", ctx.Err())
	}
	if joined && f.err == nil {
		own.tell(ProgressEvent{Kind: PullSkipped})
	}
	return f.image, f.err
}

// begin starts a flight; ps.mu is held.
func (ps *pulls) begin(ctx context.Context, key, ref string, p puller) *flight {
	f := &flight{relay: relay{to: p.o.Progress}, done: make(chan struct{})}
	if p.o.Progress != nil {
		p.o.Progress = f.relay.tell
	}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ps.flights[key] = f
	go func() {
		defer close(f.done)
		defer f.cancel()
		f.image, f.err = p.remote(ctx, ref)
		ps.mu.Lock()
		defer ps.mu.Unlock()
		ps.forget(key, f)
	}()
	return f
}

// leave gives up waiting for a flight, and says whether nobody waits any more: it
// is cancelled then, and who comes later begins a new one.
func (ps *pulls) leave(key string, f *flight) (last bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	f.waiting--
	if f.waiting > 0 {
		return false
	}
	ps.forget(key, f)
	f.cancel()
	return true
}

// forget lets the next caller begin a flight of its own; ps.mu is held.
func (ps *pulls) forget(key string, f *flight) {
	if ps.flights[key] == f {
		delete(ps.flights, key)
	}
}

// flightKey tells apart pulls that must not join. It is a hash, since credentials
// are part of it.
func (p puller) flightKey(ref string) string {
	o := p.o
	key, err := json.Marshal([]any{ref, o.Policy, o.Platform, o.Registry, o.Owner, o.Retries, o.RetryDelay, o.DockerIO})
	if err != nil {
		return fmt.Sprintf("%p", &p) // joins nobody
	}
	sum := sha256.Sum256(key)
	return string(sum[:])
}

const (
	lockWait  = 50 * time.Millisecond
	staleTemp = time.Minute
	tempMark  = "davit-"
)

// pullLock is held while one reference is transferred.
type pullLock struct {
	file *os.File
	// result is the ID of the image that the holder before brought while this
	// caller waited for it; empty if it brought none, or there was none.
	result string
}

// lockPull locks key among all processes on this store. When another one has
// the lock it calls waiting, once, and waits until ctx ends.
//
// The file is removed by whoever releases it, with the result in it: those who
// wait have it open and read the result from there. One that is there still is that
// of a holder who was killed: a result in it is nobody's who comes now.
func (c *core) lockPull(ctx context.Context, key string, waiting func()) (*pullLock, error) {
	dir := filepath.Join(c.storage().RunRoot(), "davit-pull")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("locking a pull: %w", err)
	}
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(dir, hex.EncodeToString(sum[:])+".lock")
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("locking a pull: %w", err)
		}
		waited, err := flockWait(ctx, f, waiting)
		if err != nil {
			return nil, errorsJoinClose(err, f.Close)
		}
		if waited {
			waiting = func() {}
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return nil, errorsJoinClose(fmt.Errorf("locking a pull: %w", err), f.Close)
		}
		if st.Nlink > 0 {
			if err := f.Truncate(0); err != nil {
				return nil, errorsJoinClose(fmt.Errorf("locking a pull: %w", err), f.Close)
			}
			return &pullLock{file: f}, nil
		}
		result, err := io.ReadAll(io.LimitReader(f, 65))
		if err != nil {
			return nil, errorsJoinClose(fmt.Errorf("locking a pull: %w", err), f.Close)
		}
		if isFullID(string(result)) {
			return &pullLock{file: f, result: string(result)}, nil
		}
		if err := f.Close(); err != nil { // its holder failed: try in its place
			return nil, fmt.Errorf("locking a pull: %w", err)
		}
	}
}

// flockWait takes a flock and says whether it had to wait. The kernel has no
// lock that a context could interrupt, hence the looking again: a pull takes
// long compared with lockWait.
func flockWait(ctx context.Context, f *os.File, waiting func()) (waited bool, err error) {
	tick := time.NewTicker(lockWait)
	defer tick.Stop()
	var patience record.Patience
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return waited, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return waited, fmt.Errorf("locking a pull: %w", err)
		}
		if !waited {
			waiting()
			waited = true
		}
		if pid := patience.Look(int(f.Fd())); pid != 0 {
			return waited, &record.BusyError{ID: "the pull's lock", Stopped: pid}
		}
		select {
		case <-ctx.Done():
			return waited, ctx.Err()
		case <-tick.C:
		}
	}
}

// publish tells those who wait which image was brought. It is a courtesy: they
// ask the registry themselves if it fails.
func (l *pullLock) publish(id string) {
	_, _ = l.file.WriteAt([]byte(id), 0)
}

// release lets the next one on. It is called once.
func (l *pullLock) release() {
	if l.result == "" {
		_ = os.Remove(l.file.Name())
	}
	_ = l.file.Close()
}

// tempBase is the folder that the blobs of transfers are in, each in one of its own.
func tempBase(c *core) string {
	return cmp.Or(c.cfg.TempDir, filepath.Join(c.storage().GraphRoot(), "tmp"))
}

// tempDir makes a folder for the blobs of one transfer; done removes it. Those
// of processes that were killed are removed first: their locks are free.
func (c *core) tempDir() (path string, done func(), err error) {
	base := tempBase(c)
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	sweepTemp(base, time.Now().Add(-staleTemp))
	path, err = os.MkdirTemp(base, tempMark)
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	lock, err := os.Open(path)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("locking a temporary folder: %w", err), os.RemoveAll(path))
	}
	return path, func() {
		if err := os.RemoveAll(path); err != nil {
			c.log.Warn("removing a temporary folder", "path", path, "error", err)
		}
		_ = lock.Close()
	}, nil
}

// sweepTemp removes the temporary folders below base that are from before
// and nobody has locked.
func sweepTemp(base string, before time.Time) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !strings.HasPrefix(e.Name(), tempMark) || info.ModTime().After(before) {
			continue
		}
		path := filepath.Join(base, e.Name())
		dir, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		_ = dir.Close()
	}
}

// errorsJoinClose is err, and what closing said if that failed too.
func errorsJoinClose(err error, closer func() error) error {
	return errors.Join(err, closer())
}
