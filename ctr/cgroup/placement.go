package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Placement says how a process gets into its cgroup: at most one of the two is set.
// The zero value leaves it where its parent is.
type Placement struct {
	// Into calls start with an open folder for clone3's CLONE_INTO_CGROUP, which is
	// closed then. It makes the folder anew and calls start again where that fails as
	// the folder has been removed meanwhile, and else returns start's error.
	Into func(start func(dir *os.File) error) error
	// Place moves a process that has been started.
	Place func(pid int) error
}

// Start starts a process by start, which may be called more than once, when attr, that
// process's attributes, has the cgroup that it is cloned into, if any. Its pid is for
// Move then.
func (p Placement) Start(attr *syscall.SysProcAttr, start func() error) error {
	if p.Into == nil {
		return start()
	}
	return p.Into(func(dir *os.File) error {
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
		return start()
	})
}

// Move moves a process that Start has started, where it is in its cgroup only then.
func (p Placement) Move(pid int) error {
	if p.Place == nil {
		return nil
	}
	return p.Place(pid)
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
func (h *Host) MonitorPlacement(parent string) Placement {
	path := filepath.Join("/", parent, monitorsName)
	if h.Version == 2 {
		dir := h.dir("", path)
		return Placement{Into: func(start func(*os.File) error) error {
			return whilePruned(func() (bool, error) { return startInto(dir, start) })
		}}
	}
	const systemd = "name=systemd"
	dir := h.dir(systemd, path)
	if own := h.own[systemd]; dir == "" || own == "" || own == "/" {
		return Placement{}
	}
	return Placement{Place: func(pid int) error {
		return whilePruned(func() (bool, error) { return moveInto(dir, systemd, pid) })
	}}
}

// placeRounds is how often the monitors' cgroup is made for a monitor when others prune
// it before the monitor is in it.
const placeRounds = 100

// whilePruned calls f until nobody has removed the cgroup in between.
func whilePruned(f func() (pruned bool, err error)) (err error) {
	for range placeRounds {
		var pruned bool
		if pruned, err = f(); !pruned {
			break
		}
		time.Sleep(firstPause)
	}
	return err
}

// startInto makes a cgroup of version 2 and starts a process in it. The kernel refuses
// one that is removed with ENODEV.
func startInto(dir string, start func(*os.File) error) (pruned bool, err error) {
	if err := makeAll(dir); err != nil {
		return false, fmt.Errorf("making the monitors' cgroup: %w", access("", dir, err))
	}
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return errors.Is(err, os.ErrNotExist), fmt.Errorf("opening the monitors' cgroup: %w", access("", dir, err))
	}
	defer func() { _ = f.Close() }()
	err = start(f)
	return errors.Is(err, errNoDevice), err
}

// moveInto makes a cgroup of version 1 and moves a process into it.
func moveInto(dir, controller string, pid int) (pruned bool, err error) {
	if err := makeAll(dir); err != nil {
		return false, fmt.Errorf("making the monitors' cgroup: %w", access(controller, dir, err))
	}
	if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		pruned = errors.Is(err, os.ErrNotExist) || errors.Is(err, errNoDevice)
		return pruned, fmt.Errorf("moving monitor %d: %w", pid, access(controller, dir, err))
	}
	return false, nil
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
