package leftover

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// Mount is something mounted in the folder of an object.
type Mount struct {
	// ID is the name of the folder, Path the mount point, Type the file system's
	// ("nsfs" is a pinned namespace).
	ID, Path, Type string
}

// Mounts lists what is mounted in the folders of objects below dir, as dir/ID/…,
// the last one first: the order in which they can be unmounted.
func Mounts(dir string) ([]Mount, error) {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return nil, fmt.Errorf("listing mounts: %w", err)
	}
	var out []Mount
	for _, m := range slices.Backward(all) {
		rel, below := strings.CutPrefix(m.Mountpoint, real+"/")
		if below {
			id, _, _ := strings.Cut(rel, "/")
			out = append(out, Mount{ID: id, Path: m.Mountpoint, Type: m.FSType})
		}
	}
	return out, nil
}

// Unmount detaches what is mounted at a path, once. One that is not there is no
// error.
func Unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "unmounting", Path: path, Err: err}
}

// RemoveAll removes the folder of an object below dir, dir/ID, with what is mounted
// in it: a runtime that is killed early leaves a mount of itself in its folder. One
// that is not there is no error.
func RemoveAll(dir, id string) error {
	path := filepath.Join(dir, id)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	mounts, err := Mounts(dir)
	for _, m := range mounts {
		if m.ID == id {
			err = errors.Join(err, Unmount(m.Path))
		}
	}
	if err != nil { // what is mounted still is somebody else's
		return err
	}
	return os.RemoveAll(path)
}

// Process is one that serves an object.
type Process struct {
	record.Process
	ID string // the object's
	// Name is the program, Verb what a runtime is to do; "" for a monitor.
	Name, Verb string
}

// Processes lists the monitors of containers whose run folders are at dir/ID, and
// the OCI runtimes that keep their state below a folder and make, start, restore
// or delete one. A runtime that runs a command in a container is none of them: who
// ran it may be gone.
func Processes(dir, states string) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		process, err := record.ProcessOf(pid)
		if err != nil {
			continue
		}
		data, err := commandLine(e.Name())
		if err != nil || len(data) == 0 || !process.Alive() {
			continue // gone, or the kernel's
		}
		if p, ok := parse(strings.Split(string(bytes.TrimRight(data, "\x00")), "\x00"), dir, states); ok {
			p.Process = process
			out = append(out, p)
		}
	}
	return out, nil
}

// commandLine reads a process's command line; empty is a kernel thread's. So is, for a
// moment, that of a program that execve(2) is about to begin: it is waited for, as a
// runtime that is overlooked goes on making what has been cleared away.
func commandLine(pid string) ([]byte, error) {
	for range 100 {
		data, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err != nil || len(data) > 0 {
			return data, err
		}
		if _, err := os.Readlink(filepath.Join("/proc", pid, "exe")); err != nil {
			return nil, nil // it has no program
		}
		time.Sleep(time.Millisecond)
	}
	return nil, nil
}

// parse reads a command line.
func parse(args []string, dir, states string) (Process, bool) {
	p := Process{Name: filepath.Base(args[0])}
	below := false
	for i, a := range args {
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch a {
		case "--persist-dir": // a monitor's alone
			rel, ok := strings.CutPrefix(next, dir+"/")
			if id, _, deeper := strings.Cut(rel, "/"); ok && deeper {
				p.ID = id
				return p, true
			}
		case "--root":
			below = below || strings.HasPrefix(next, states+"/")
		case "create", "start", "restore", "delete":
			if p.Verb == "" && below {
				p.Verb = a
			}
		}
	}
	p.ID = args[len(args)-1]
	return p, below && p.Verb != "" && p.ID != p.Verb
}

// Ending tells whether a monitor or a runtime may be on its way out: it has no
// child but, of a monitor, the exit command, which is the program self, or the fork of
// it that waits to become that.
func (p Process) Ending(self string) bool {
	own, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.Pid))
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.Pid, p.Pid))
	if err != nil {
		return true
	}
	for _, pid := range strings.Fields(string(data)) {
		if program, err := os.Readlink("/proc/" + pid + "/exe"); err == nil && program != self && program != own {
			return false
		}
	}
	return true
}
