package layersize

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a writable layer takes up.
type Usage struct {
	// At is when its walk ended.
	At time.Time
	// Root is where the store keeps its layers, for those who know: a kubelet
	// knows the file system by it.
	Root string
	// Bytes are those of the disk's blocks. A hard link counts once.
	Bytes, Inodes uint64
	// Capacity is the size of the file system in bytes.
	Capacity, InodesTotal, InodesFree uint64
}

const (
	// layerAge is how long a layer's usage is good.
	layerAge = 10 * time.Second
	// layerShare bounds what walking all the layers may take of one core: the
	// usage is good for as many times what all walks take together.
	layerShare = 100
	// layerIdle is how long the usage of a layer is kept that nobody asks for.
	layerIdle = 10 * time.Minute
	// layerDepth bounds the folders that a walk has open at a time. What lies
	// deeper is not counted.
	layerDepth = 512
)

// Meter knows the layers whose usage was asked for. A layer is walked in the
// background, one at a time; whoever asks gets what is known. It may be used
// concurrently.
type Meter struct {
	mu     sync.Mutex
	known  map[string]*knownLayer
	walks  sync.WaitGroup
	turn   sync.Mutex // held by the walk under way
	closed chan struct{}
}

type knownLayer struct {
	usage   Usage
	err     error
	took    time.Duration
	asked   time.Time
	walking bool
	ready   chan struct{} // closed when there is a usage or an error
}

// New returns a Meter that knows nothing yet.
func New() *Meter {
	return &Meter{known: map[string]*knownLayer{}, closed: make(chan struct{})}
}

// Usage tells what the layer of an ID takes up, which is in dir. It walks no tree
// for that: what it tells is some ten seconds old, or more where the layers are
// large. The first time it waits for the walk until ctx ends.
func (u *Meter) Usage(ctx context.Context, id, dir string) (Usage, error) {
	k := u.ask(id, func() (Usage, error) { return walkLayer(dir, u.closed) })
	select {
	case <-k.ready:
	case <-ctx.Done():
		return Usage{}, ctx.Err()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return k.usage, k.err
}

// Walk counts a folder now, when no other is being walked.
func (u *Meter) Walk(dir string) (Usage, error) {
	u.turn.Lock()
	defer u.turn.Unlock()
	return walkLayer(dir, u.closed)
}

// Closed tells whether Close was called: nothing is walked any more.
func (u *Meter) Closed() bool {
	select {
	case <-u.closed:
		return true
	default:
		return false
	}
}

// Drop forgets a layer that is gone.
func (u *Meter) Drop(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.known, id)
}

// ask is the entry of a layer, with a walk begun where it is due.
func (u *Meter) ask(id string, walk func() (Usage, error)) *knownLayer {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	k := u.known[id]
	if k == nil {
		k = &knownLayer{ready: make(chan struct{})}
		u.known[id] = k
	}
	k.asked = now
	if k.walking || now.Sub(k.usage.At) < u.good() {
		return k
	}
	if u.Closed() {
		return k
	}
	k.walking = true
	u.walks.Go(func() { u.walk(k, walk) })
	return k
}

// good is how long a usage is good, and forgets what is not asked for; u.mu is
// held.
func (u *Meter) good() time.Duration {
	var took time.Duration
	for id, k := range u.known {
		if time.Since(k.asked) > layerIdle && !k.walking {
			delete(u.known, id)
			continue
		}
		took += k.took
	}
	return max(layerAge, layerShare*took)
}

func (u *Meter) walk(k *knownLayer, walk func() (Usage, error)) {
	u.turn.Lock()
	began := time.Now()
	usage, err := walk()
	u.turn.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	first := k.usage.At.IsZero()
	usage.At = time.Now()
	if err != nil && !first {
		at := usage.At // the last one that is known goes on
		usage, err = k.usage, k.err
		usage.At = at
	}
	k.usage, k.err, k.took, k.walking = usage, err, usage.At.Sub(began), false
	if first {
		close(k.ready)
	}
}

// Close ends the walks and waits for them. It may be repeated; what is asked for
// afterwards is not measured any more.
func (u *Meter) Close() {
	u.mu.Lock()
	if !u.Closed() {
		close(u.closed)
	}
	u.mu.Unlock()
	u.walks.Wait()
}

// errClosed ends a walk.
var errClosed = errors.New("the store is closed")

// walkLayer counts what a folder holds. Its owner may change it meanwhile, so
// that no step follows a symbolic link.
func walkLayer(dir string, closed <-chan struct{}) (Usage, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Usage{}, &os.PathError{Op: "opening", Path: dir, Err: err}
	}
	w := layerWalk{seen: map[inode]struct{}{}, closed: closed}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		_ = unix.Close(fd)
		return Usage{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	w.usage.Capacity, w.usage.InodesTotal, w.usage.InodesFree = fs.Blocks*uint64(max(fs.Bsize, 0)), fs.Files, fs.Ffree
	err = w.folder(fd, dir, 0)
	return w.usage, err
}

type inode struct{ dev, ino uint64 }

type layerWalk struct {
	usage  Usage
	seen   map[inode]struct{} // files with several links
	closed <-chan struct{}
}

// folder counts what is below an open folder, and closes it.
func (w *layerWalk) folder(fd int, name string, depth int) error {
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	for {
		select {
		case <-w.closed:
			return errClosed
		default:
		}
		entries, err := f.ReadDir(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := w.entry(fd, e.Name(), depth); err != nil {
				return err
			}
		}
	}
}

func (w *layerWalk) entry(fd int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	folder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !folder && st.Nlink > 1 {
		n := inode{uint64(st.Dev), st.Ino}
		if _, ok := w.seen[n]; ok {
			return nil
		}
		w.seen[n] = struct{}{}
	}
	w.usage.Inodes++
	w.usage.Bytes += uint64(max(st.Blocks, 0)) * blockSize
	if !folder || depth >= layerDepth {
		return nil
	}
	sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil // it was replaced
	case err != nil:
		return &os.PathError{Op: "opening", Path: name, Err: err}
	}
	return w.folder(sub, name, depth+1)
}

// blockSize is the unit of st_blocks, see stat(2).
const blockSize = 512
