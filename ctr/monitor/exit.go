package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// Exit is how a container's process ended.
type Exit struct {
	// Code is its exit code, 128 plus the number for a signal; -1 when Lost.
	Code int
	// Finished is when the monitor wrote the exit down, after it had emptied
	// the streams; when Lost, when that was found out.
	Finished time.Time
	// OOM says that the kernel killed something in the container's cgroup for
	// memory, not necessarily its first process.
	OOM bool
	// Lost says that the monitor died without writing an exit down. The
	// container's process may then still run.
	Lost bool
}

// exitFile and oomFile are what the monitor writes into the persist folder.
const (
	exitFile = "exit"
	oomFile  = "oom"
)

// ReadExit reads the exit that the monitor wrote into a persist folder. None
// there, or no folder, is false without an error.
func ReadExit(persistDir string) (Exit, bool, error) {
	path := filepath.Join(persistDir, exitFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Exit{}, false, nil
	}
	if err != nil {
		return Exit{}, false, fmt.Errorf("reading exit file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Exit{}, false, fmt.Errorf("reading exit file: %w", err)
	}
	buf := make([]byte, 64)
	n, _ := f.Read(buf)
	code, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return Exit{}, false, fmt.Errorf("exit file %q says %q: %w", path, buf[:n], errdefs.ErrUnavailable)
	}
	_, err = os.Lstat(filepath.Join(persistDir, oomFile))
	return Exit{Code: code, Finished: info.ModTime(), OOM: err == nil}, true, nil
}

// WaitConfig says where an exit will be seen.
type WaitConfig struct {
	// PersistDir is the folder of this start.
	PersistDir string
	Monitor    record.Process
	// Process is the container's, if it is known: its end says when to look.
	Process record.Process
}

// Wait returns the exit of a container as soon as the monitor has written it
// down, or Lost once the monitor is gone without; it does not wait for the
// monitor's exit command. A persist folder that vanishes is ErrNotFound. A
// monitor that is this process's child is reaped if it has ended.
//
// The monitor writes the exit down a moment after the end of the container's process,
// which is when it is looked for, for a while: an inotify instance would tell as soon,
// but the kernel takes 8 to 16 ms to close one. Otherwise nothing is polled, unless
// the host has no inotify instance left.
func Wait(ctx context.Context, cfg WaitConfig) (Exit, error) {
	e, found, err := ReadExit(cfg.PersistDir)
	if err != nil || found {
		return e, err
	}
	mon, err := pidfdOf(cfg.Monitor)
	if errdefs.IsNotFound(err) {
		return lastLook(cfg.PersistDir)
	}
	if err != nil {
		return Exit{}, err
	}
	defer func() { _ = mon.Close() }()

	if cfg.Process.Pid > 0 {
		if e, found, err := cfg.awaitSoon(ctx, mon); err != nil || found {
			return e, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed, stop := watchDir(ctx, cfg.PersistDir, func(ctx context.Context) bool {
		return cfg.Process.Pid > 0 && AwaitGone(ctx, cfg.Process) == nil
	})
	defer stop()
	gone := make(chan error, 1)
	go func() { gone <- waitReadable(ctx, mon) }()
	defer func() {
		cancel()
		if gone != nil {
			<-gone
		}
	}()
	for {
		e, found, err := ReadExit(cfg.PersistDir)
		if err != nil || found {
			return e, err
		}
		if _, err := os.Lstat(cfg.PersistDir); errors.Is(err, fs.ErrNotExist) {
			return Exit{}, fmt.Errorf("persist folder %q: %w", cfg.PersistDir, errdefs.ErrNotFound)
		}
		select {
		case <-changed:
		case err := <-gone:
			gone = nil
			if err != nil {
				return Exit{}, err
			}
			reapPidfd(mon)
			return lastLook(cfg.PersistDir)
		}
	}
}

// awaitSoon waits for the end of the container's process and looks for the exit for
// some time then. It is false when there is none yet, or the monitor has gone.
func (cfg WaitConfig) awaitSoon(ctx context.Context, mon *os.File) (Exit, bool, error) {
	process, err := pidfdOf(cfg.Process)
	if err == nil {
		err = waitEither(ctx, process, mon)
		_ = process.Close()
	}
	if errdefs.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return Exit{}, false, err
	}
	for _, pause := range []time.Duration{100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond} {
		for range 10 {
			e, found, err := ReadExit(cfg.PersistDir)
			if err != nil || found || isReadable(mon) {
				return e, found, err
			}
			if err := sleep(ctx, pause); err != nil {
				return Exit{}, false, err
			}
		}
	}
	return Exit{}, false, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lastLook reads the exit of a monitor that is known to be gone.
func lastLook(persistDir string) (Exit, error) {
	e, found, err := ReadExit(persistDir)
	if err != nil || found {
		return e, err
	}
	return Exit{Code: -1, Lost: true, Finished: time.Now()}, nil
}

// slowPoll is how often a folder is looked at that cannot be watched, and quickPoll
// how often for a while when something is to happen there: what a monitor writes down
// may be removed by its exit command a moment later.
const (
	slowPoll   = time.Second
	quickPoll  = 2 * time.Millisecond
	quickPolls = 500
)

// watchDir signals each change of a folder. stop ends it and waits for it.
// Without inotify (none left) it signals by the clock; due, which may be nil,
// returns true when something is to happen in the folder, and false if that is not
// known or ctx ends.
func watchDir(ctx context.Context, dir string, due func(context.Context) bool) (changed <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ch, done := make(chan struct{}, 1), make(chan struct{})
	notify := func() {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	f := openInotify(dir)
	go func() {
		defer close(done)
		if f == nil {
			poll(ctx, notify, due)
			return
		}
		buf := make([]byte, 4096)
		for waitReadable(ctx, f) == nil {
			if _, err := f.Read(buf); err != nil {
				return
			}
			notify()
		}
	}()
	// What happened before the watch was set is looked for once more.
	notify()
	return ch, func() {
		cancel()
		<-done
		if f != nil {
			_ = f.Close()
		}
	}
}

// poll calls notify by the clock until ctx ends.
func poll(ctx context.Context, notify func(), due func(context.Context) bool) {
	soon := make(chan bool, 1)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	if due != nil {
		waiting.Go(func() { soon <- due(ctx) })
	}
	tick := time.NewTicker(slowPoll)
	defer tick.Stop()
	for quick := 0; ; {
		select {
		case <-tick.C:
			notify()
			if quick--; quick == 0 {
				tick.Reset(slowPoll)
			}
		case now := <-soon:
			if now {
				quick = quickPolls
				tick.Reset(quickPoll)
			}
		case <-ctx.Done():
			return
		}
	}
}

// openInotify watches a folder for files that come and go; nil if it cannot.
func openInotify(dir string) *os.File {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	const mask = unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "inotify")
}
