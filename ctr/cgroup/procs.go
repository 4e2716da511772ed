package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Procs lists the processes of a cgroup and of those below it, sorted. A cgroup
// that is not there is ErrNotFound.
func (h *Host) Procs(path string) ([]int, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	dir := h.processDir(path)
	pids, err := treeProcs(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cgroup %q: %w", path, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("listing processes of cgroup %q: %w", path, err)
	}
	return pids, nil
}

func treeProcs(dir string) ([]int, error) {
	pids, err := procsOf(dir)
	if err != nil {
		return nil, err
	}
	subs, err := subfolders(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range subs {
		more, err := treeProcs(sub)
		// A threaded cgroup, and with it all below, has its processes listed above it
		// (cgroup-v2, "Threads"): the container may have made one.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, err
		}
		pids = append(pids, more...)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// procsOf reads one cgroup.procs. Processes of other PID namespaces read as 0
// and are left out.
func procsOf(dir string) ([]int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

const (
	killTimeout = 10 * time.Second
	// patientRounds is how often Kill looks for new processes before it stops
	// the cgroup from making any.
	patientRounds = 3
)

// Kill kills every process of a cgroup and of those below it, thaws what is
// frozen, and returns when none is left; or with ctx's error, or ErrUnavailable
// after some seconds. A cgroup that is not there is ErrNotFound. This process
// itself is never killed.
func (h *Host) Kill(ctx context.Context, path string) error {
	if _, err := h.Procs(path); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, killTimeout,
		fmt.Errorf("processes of cgroup %q do not die: %w", path, errdefs.ErrUnavailable))
	defer cancel()
	dir := h.processDir(path)
	for round := 0; ; round++ {
		pids, err := treeProcs(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("killing processes of cgroup %q: %w", path, err)
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return pid == os.Getpid() })
		if len(pids) == 0 {
			return nil
		}
		if h.Version == 2 && writeFile(filepath.Join(dir, "cgroup.kill"), "1") == nil {
			// It reaches frozen processes, too, and those being forked.
			if err := awaitGone(ctx, pids); err != nil {
				return context.Cause(ctx)
			}
			continue
		}
		if err := killRound(ctx, h, path, pids, round >= patientRounds); err != nil {
			return fmt.Errorf("killing processes of cgroup %q: %w", path, err)
		}
	}
}

// killRound signals the processes that are still in the cgroup, and waits for
// them. With hold it freezes the cgroup meanwhile, so that a fork bomb stands
// still.
func killRound(ctx context.Context, h *Host, path string, pids []int, hold bool) error {
	if hold {
		_ = h.Freeze(ctx, path)
		if again, err := treeProcs(h.processDir(path)); err == nil {
			pids = again
		}
	}
	fds := map[int]int{}
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			fds[pid] = fd
		}
	}
	// A pid that is listed after it was opened is the process that was opened.
	still, err := treeProcs(h.processDir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, pid := range still {
		if fd, ok := fds[pid]; ok && pid != os.Getpid() {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
	if err := h.Thaw(ctx, path); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsNotImplemented(err) {
		return err
	}
	for pid, fd := range fds {
		if !slices.Contains(still, pid) {
			continue
		}
		if err := awaitPidfd(ctx, fd); err != nil {
			return context.Cause(ctx)
		}
	}
	return ctx.Err()
}

// awaitGone waits until none of the processes lives.
func awaitGone(ctx context.Context, pids []int) error {
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		err = awaitPidfd(ctx, fd)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// pollSlice bounds one poll, as a poll does not hear of ctx.
const pollSlice = 50 * time.Millisecond

// awaitPidfd waits until a process has ended.
func awaitPidfd(ctx context.Context, fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Poll(fds, int(pollSlice/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// Children lists the cgroups right below one, by name, of all hierarchies
// together, sorted; none where it is not there.
func Children(h *Host, path string) ([]string, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	var names []string
	for _, t := range h.hierarchies() {
		subs, err := subfolders(filepath.Join(t.mount, path))
		if err != nil {
			return nil, fmt.Errorf("listing cgroups below %q: %w", path, err)
		}
		for _, sub := range subs {
			names = append(names, filepath.Base(sub))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Exists tells whether a cgroup is in any hierarchy.
func Exists(h *Host, path string) bool {
	return slices.ContainsFunc(h.hierarchies(), func(t hierarchy) bool {
		_, err := os.Lstat(filepath.Join(t.mount, path))
		return err == nil
	})
}
