package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// WatchOOM delivers the count of processes killed for memory in a cgroup each
// time it grows, until ctx ends or the cgroup is removed, when the channel is
// closed. A reader that is slow sees the latest count only.
func (h *Host) WatchOOM(ctx context.Context, path string) (<-chan uint64, error) {
	before, err := h.OOMKills(path)
	if err != nil {
		return nil, err
	}
	dir := h.dir("memory", path)
	if dir == "" {
		return nil, missing("memory")
	}
	open := openOOM1
	if h.Version == 2 {
		open = openOOM2
	}
	f, release, err := open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = errdefs.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("watching cgroup %q: %w", path, access("memory", dir, err))
	}
	out := make(chan uint64, 1)
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	go func() {
		defer close(out)
		defer release()
		defer stop()
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			now, err := h.killsSince(ctx, path, before)
			if err != nil {
				return
			}
			if now == before {
				continue
			}
			before = now
			select {
			case <-out:
			default:
			}
			out <- now
		}
	}()
	return out, nil
}

// oomPatience is how long a kill is waited for that was announced.
const oomPatience = time.Second

// killsSince is the count of killed processes after an announcement. Cgroup v1 makes
// it before the kernel kills: as long as the count is as before, it is read again.
func (h *Host) killsSince(ctx context.Context, path string, before uint64) (uint64, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		now, err := h.OOMKills(path)
		if err != nil || now != before || h.Version == 2 || wait > oomPatience {
			return now, err
		}
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// openOOM1 has the kernel count into an eventfd, see cgroup-v1/memory.rst,
// section 10. It also counts when the cgroup is removed.
func openOOM1(dir string) (*os.File, func(), error) {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, nil, err
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = control.Close()
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), "eventfd")
	if err := writeFile(filepath.Join(dir, "cgroup.event_control"), fmt.Sprintf("%d %d", fd, control.Fd())); err != nil {
		_ = control.Close()
		_ = f.Close()
		return nil, nil, err
	}
	return f, func() { _ = f.Close(); _ = control.Close() }, nil
}

// openOOM2 watches memory.events, which the kernel notifies as modified.
func openOOM2(dir string) (*os.File, func(), error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, filepath.Join(dir, "memory.events"), unix.IN_MODIFY|unix.IN_DELETE_SELF); err != nil {
		_ = unix.Close(fd)
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fd), "inotify")
	return f, func() { _ = f.Close() }, nil
}
