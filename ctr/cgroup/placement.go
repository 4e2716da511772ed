package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Placement says how a monitor gets into its cgroup: at most one of the two is
// set. None is to leave it where its parent is.
type Placement struct {
	// Dir is an open folder for clone3's CLONE_INTO_CGROUP; its user closes it.
	Dir *os.File
	// Place moves a process that is held.
	Place func(pid int) error
}

// monitorsName is the cgroup of all monitors below the pods' parent: neither a
// container's nor a pod's, so that neither's limits or end touches them.
const monitorsName = "monitors"

// MonitorPlacement tells where a monitor is to live so that it does not end
// with its parent's cgroup.
//
// Version 2 clones it into a cgroup of the monitors, which costs nothing. On
// version 1 it is moved in the hierarchy name=systemd alone, as that is the one
// by which a session or a service is killed; it stays in its parent's cgroups
// for accounting, because each move may cost an RCU grace period (15 to 30 ms;
// 0.1 ms if the machine has just done one). Where this process is in no
// systemd unit, as on a machine without systemd, nothing is done.
func (h *Host) MonitorPlacement(parent string) (Placement, error) {
	path := filepath.Join("/", parent, monitorsName)
	if h.Version == 2 {
		dir := h.dir("", path)
		for range 3 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return Placement{}, fmt.Errorf("making the monitors' cgroup: %w", access("", dir, err))
			}
			// Prune may have removed it in between.
			f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
			if err == nil {
				return Placement{Dir: f}, nil
			}
			if !errors.Is(err, os.ErrNotExist) {
				return Placement{}, fmt.Errorf("opening the monitors' cgroup: %w", access("", dir, err))
			}
		}
		return Placement{}, fmt.Errorf("opening the monitors' cgroup %q: %w", path, os.ErrNotExist)
	}
	const systemd = "name=systemd"
	dir := h.dir(systemd, path)
	if own := h.own[systemd]; dir == "" || own == "" || own == "/" {
		return Placement{}, nil
	}
	return Placement{Place: func(pid int) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the monitors' cgroup: %w", access(systemd, dir, err))
		}
		if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("moving monitor %d: %w", pid, access(systemd, dir, err))
		}
		return nil
	}}, nil
}

// Prune removes the monitors' cgroup and parent itself where nobody is in them,
// so that nothing is left after the last pod. It never waits, and what is in
// use is no error.
func (h *Host) Prune(parent string) error {
	if err := checkPath(parent); err != nil {
		return err
	}
	for _, t := range h.hierarchies() {
		for _, dir := range []string{filepath.Join(t.mount, parent, monitorsName), filepath.Join(t.mount, parent)} {
			err := unix.Rmdir(dir)
			switch {
			case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY),
				errors.Is(err, unix.EROFS): // nothing of ours is in it then
			default:
				return fmt.Errorf("removing cgroup %q: %w", parent, access(t.controller, dir, err))
			}
		}
	}
	return nil
}
