package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownUser reports whether c asks for a user namespace.
func (c Config) ownUser() bool { return len(c.UIDs) > 0 }

// createOwned is createHere with a user namespace that owns the others. A
// process with threads cannot enter a new user namespace (setns(2), EINVAL), so
// a cloned child is born in all of them: this very program, traced, so that it
// stops before its first instruction, and killed once its namespaces are pinned.
// Should this process die meanwhile, the child dies with it.
//
// The calling thread is locked: it is the child's tracer and parent.
func (c Config) createOwned(ks []kind) error {
	flags := uintptr(0)
	for _, k := range ks {
		flags |= uintptr(k.flag)
	}
	child, err := os.StartProcess("/proc/self/exe", []string{"davit-namespaces"}, &os.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{
			Cloneflags: flags, UidMappings: sysMappings(c.UIDs), GidMappings: sysMappings(c.GIDs),
			GidMappingsEnableSetgroups: true, Ptrace: true, Pdeathsig: syscall.SIGKILL,
		},
	})
	if err != nil {
		return fmt.Errorf("cloning into new namespaces: %w", err)
	}
	defer func() {
		_ = child.Kill()
		_, _ = child.Wait()
	}()
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(child.Pid, &ws, 0, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("wait4", err)
		}
	}
	if !ws.Stopped() {
		return fmt.Errorf("the child in the new namespaces did not stop: %w", os.ErrProcessDone)
	}
	from := filepath.Join("/proc", strconv.Itoa(child.Pid), "ns")
	if err := c.pin(ks, from); err != nil {
		return err
	}
	return onThread(func() error { return c.furnishPinned(ks) })
}

// furnishPinned enters the pinned namespaces, all but the user namespace, and
// sets them up: this process has power over them, since its own user namespace
// is the parent of theirs.
func (c Config) furnishPinned(ks []kind) error {
	for _, k := range ks {
		if k.name == userName {
			continue
		}
		fd, err := unix.Open(filepath.Join(c.Dir, k.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("open", err)
		}
		err = unix.Setns(fd, k.flag)
		_ = unix.Close(fd)
		if err != nil {
			return os.NewSyscallError("setns", err)
		}
	}
	return c.furnish()
}

func sysMappings(ms []IDMapping) []syscall.SysProcIDMap {
	var out []syscall.SysProcIDMap
	for _, m := range ms {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return out
}

// asUser runs f with the root of the mappings as the thread's effective user.
// The system call is made by hand: the one of package unix changes all threads.
func asUser(mappings []IDMapping, f func() error) error {
	keep := ^uintptr(0)
	for _, m := range mappings {
		if m.ContainerID != 0 {
			continue
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(m.HostID), keep); errno != 0 {
			return os.NewSyscallError("setresuid", errno)
		}
		err := f()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); errno != 0 {
			return errors.Join(err, os.NewSyscallError("setresuid", errno))
		}
		return err
	}
	return f()
}
