package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	erofs       = unix.EROFS
	errNoDevice = unix.ENODEV
)

// Create makes a cgroup in every hierarchy, with its ancestors, and sets the
// limits of res; nil sets none. What is there already is kept, so that it can be
// repeated. After an error what was made stays: Remove undoes it.
func (h *Host) Create(ctx context.Context, path string, res *specs.LinuxResources) error {
	if err := checkPath(path); err != nil {
		return err
	}
	for _, t := range h.hierarchies() {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := filepath.Join(t.mount, path)
		if err := makeAll(dir); err != nil {
			return fmt.Errorf("making cgroup %q: %w", path, access(t.controller, dir, err))
		}
	}
	if h.Version == 2 {
		if err := delegate(h.mounts[""], path); err != nil {
			return fmt.Errorf("making cgroup %q: %w", path, err)
		}
	} else if root := h.mounts["cpuset"]; root != "" {
		if err := inheritCpuset(root, filepath.Join(root, path)); err != nil {
			return fmt.Errorf("making cgroup %q: %w", path, access("cpuset", path, err))
		}
	}
	return h.Set(path, res)
}

// inheritCpuset gives a version 1 cpuset its parent's CPUs and memory nodes,
// from the top down: a new one has none, and no process may enter it.
func inheritCpuset(root, dir string) error {
	if dir == root {
		return nil
	}
	missing := false
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		missing = missing || strings.TrimSpace(string(data)) == ""
	}
	if !missing {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := inheritCpuset(root, parent); err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(data)) != "" {
			continue
		}
		if data, err = os.ReadFile(filepath.Join(parent, name)); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, name), strings.TrimSpace(string(data))); err != nil {
			return err
		}
	}
	return nil
}

// delegate enables every controller from the root of a version 2 hierarchy down
// to path, for its children. A controller that the parent cannot give, because
// it holds processes of its own or was not given it, is left out: a limit that
// needs it is then refused by name.
func delegate(root, path string) error {
	data, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return access("", root, err)
	}
	var all []string
	for _, c := range strings.Fields(string(data)) {
		all = append(all, "+"+c)
	}
	dir := root
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		enable(dir, all)
		dir = filepath.Join(dir, part)
	}
	enable(dir, all)
	return nil
}

func enable(dir string, controllers []string) {
	file := filepath.Join(dir, "cgroup.subtree_control")
	if writeFile(file, strings.Join(controllers, " ")) == nil {
		return
	}
	for _, c := range controllers {
		_ = writeFile(file, c)
	}
}

const (
	removeTimeout = 5 * time.Second
	firstPause    = time.Millisecond
	longestPause  = 50 * time.Millisecond
)

// Remove removes a cgroup and those below it in every hierarchy. While dying
// processes keep it busy it waits, until ctx ends or some seconds have passed:
// then it is ErrUnavailable and names the processes. One that is in no
// hierarchy is ErrNotFound.
func (h *Host) Remove(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	found := false
	var errs []error
	for _, t := range h.hierarchies() {
		dir := filepath.Join(t.mount, path)
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = true
		if err := removeTree(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("removing cgroup %q: %w", path, access(t.controller, dir, err)))
		}
	}
	if !found {
		return fmt.Errorf("cgroup %q: %w", path, errdefs.ErrNotFound)
	}
	return errors.Join(errs...)
}

// removeTree removes folders from the bottom up. A cgroup's files go with it.
func removeTree(ctx context.Context, dir string) error {
	if err := removeDir(ctx, dir, false); err == nil {
		return nil
	}
	subs, err := subfolders(dir)
	if err != nil {
		return err
	}
	for _, sub := range subs {
		if err := removeTree(ctx, sub); err != nil {
			return err
		}
	}
	return removeDir(ctx, dir, true)
}

// removeDir removes one folder; with patience it waits while it is busy. Version
// 1 has no event for a cgroup that became empty but its processes' ends.
func removeDir(ctx context.Context, dir string, patience bool) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY) || !patience:
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		pids, _ := procsOf(dir)
		if len(pids) > 0 {
			if awaitGone(ctx, pids) == nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			if len(pids) > 0 {
				return fmt.Errorf("%q is busy with processes %v: %w", dir, pids, errdefs.ErrUnavailable)
			}
			return fmt.Errorf("%q is busy: %w", dir, errdefs.ErrUnavailable)
		case <-time.After(pause):
		}
	}
}

func subfolders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

// writeFile writes to a file that must be there.
func writeFile(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// makeAll makes a cgroup with those above it. Prune may remove one of these in
// between.
func makeAll(dir string) (err error) {
	for range 1000 {
		if err = os.MkdirAll(dir, 0o755); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return err
}
