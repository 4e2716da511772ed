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
)

const (
	frozen = "FROZEN"
	thawed = "THAWED"
)

// Freeze stops every process of a cgroup, and returns when all stand still. If
// ctx ends before, it thaws again. A cgroup that is not there is ErrNotFound, a
// host that cannot freeze ErrNotImplemented.
func (h *Host) Freeze(ctx context.Context, path string) error {
	err := setFrozen(ctx, h, path, true)
	if err != nil && ctx.Err() != nil {
		return errors.Join(err, h.Thaw(context.WithoutCancel(ctx), path))
	}
	return err
}

// Thaw lets the processes of a cgroup go on. See Freeze for the errors.
func (h *Host) Thaw(ctx context.Context, path string) error { return setFrozen(ctx, h, path, false) }

// Frozen tells whether a cgroup is frozen, by itself or by an ancestor.
func (h *Host) Frozen(path string) (bool, error) {
	if err := checkPath(path); err != nil {
		return false, err
	}
	if h.Version == 2 {
		v, err := keyed(filepath.Join(h.dir("", path), "cgroup.events"), "frozen")
		if err != nil {
			return false, freezeError(path, err)
		}
		return v == 1, nil
	}
	dir := h.dir("freezer", path)
	if dir == "" {
		return false, freezeError(path, errdefs.ErrNotImplemented)
	}
	state, err := readString(filepath.Join(dir, "freezer.state"))
	if err != nil {
		return false, freezeError(path, err)
	}
	return state == frozen, nil
}

func setFrozen(ctx context.Context, h *Host, path string, want bool) error {
	if err := checkPath(path); err != nil {
		return err
	}
	file, value := "cgroup.freeze", "0"
	if want {
		value = "1"
	}
	if h.Version == 1 {
		file, value = "freezer.state", thawed
		if want {
			value = frozen
		}
	}
	dir := h.dir("freezer", path)
	if dir == "" {
		return freezeError(path, errdefs.ErrNotImplemented)
	}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		// Version 1 needs the write repeated while processes are being forked.
		if err := writeFile(filepath.Join(dir, file), value); err != nil {
			return freezeError(path, err)
		}
		now, err := h.Frozen(path)
		if err != nil {
			return err
		}
		if now == want || !want {
			return nil
		}
		select {
		case <-ctx.Done():
			return freezeError(path, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func freezeError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = errdefs.ErrNotFound
	}
	return fmt.Errorf("freezing or thawing cgroup %q: %w", path, access("freezer", path, err))
}

func readString(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}
