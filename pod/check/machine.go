package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/pod"
)

// nsfsMagic is the file system type of a pinned namespace (statfs(2)).
const nsfsMagic = 0x6e736673

// ownerOf is the ID of the object whose run folder a path is in, "" for none.
func (c *Checker) ownerOf(path string) string {
	for _, kind := range []string{"pods", "containers"} {
		if rest, ok := strings.CutPrefix(path, filepath.Join(c.o.Paths.RunRoot, kind)+"/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			return id
		}
	}
	return ""
}

// mounts finds mounts in run folders of objects that are not there.
func (c *Checker) mounts(context.Context) ([]suspect, error) {
	all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(c.o.Paths.RunRoot))
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	var out []suspect
	for _, m := range all {
		id := c.ownerOf(m.Mountpoint)
		if id == "" || c.known(id) {
			continue
		}
		out = append(out, suspect{record.Finding{
			Kind: "mount", Object: m.Mountpoint, Problem: fmt.Sprintf("there is no pod or container %q", id), Repair: "unmount it",
			Mend: func(context.Context) error {
				if c.known(id) {
					return nil
				}
				err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
				if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
					return &fs.PathError{Op: "unmounting", Path: m.Mountpoint, Err: err}
				}
				return nil
			},
		}, func() bool {
			mounted, err := mountinfo.Mounted(m.Mountpoint)
			return err == nil && mounted && !c.known(id)
		}})
	}
	return out, nil
}

// namespaces finds pods that are ready and have lost a pinned namespace.
func (c *Checker) namespaces(ctx context.Context) ([]suspect, error) {
	var out []suspect
	for _, s := range c.pods {
		if s.Status.State != pod.Ready {
			continue
		}
		n := s.Status.Namespaces
		for kind, path := range map[string]string{"net": n.Net, "ipc": n.IPC, "uts": n.UTS, "user": n.User, "pid": n.PID} {
			if path == "" || pinned(path) {
				continue
			}
			out = append(out, suspect{record.Finding{
				Kind: "namespace", Object: path, Problem: fmt.Sprintf("pod %q has lost its %s namespace; its containers keep it", s.Config.Name, kind),
				Repair: "davit pod restart " + s.Config.Name,
			}, func() bool {
				now, idle := c.idlePod(ctx, s.ID)
				return idle && now.Status.State == pod.Ready && !pinned(path)
			}})
		}
	}
	return out, nil
}

// pinned tells whether a namespace is mounted at path.
func pinned(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == nsfsMagic
}

// processes finds monitors of containers that are not there.
func (c *Checker) processes(context.Context) ([]suspect, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []suspect
	for _, f := range folders {
		pid, _ := strconv.Atoi(filepath.Base(f))
		start, err := record.ProcessStart(pid)
		if err != nil {
			continue // it is gone
		}
		id := c.monitored(f)
		if id == "" || c.known(id) {
			continue
		}
		out = append(out, suspect{record.Finding{
			Kind: "monitor", Object: strconv.Itoa(pid), Problem: fmt.Sprintf("there is no container %q", id), Repair: "end it",
			Mend: func(ctx context.Context) error {
				if c.known(id) {
					return nil
				}
				return errors.Join(ctr.AbsentOK(monitor.Signal(pid, start, syscall.SIGKILL)), monitor.WaitPid(ctx, pid, start))
			},
		}, func() bool { return record.Alive(pid, start) && !c.known(id) }})
	}
	return out, nil
}

// monitored is the container that a process watches, "" if it is no monitor of
// this davit's: conmon is told a folder for the exit code in the container's own.
func (c *Checker) monitored(proc string) string {
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return ""
	}
	args := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
	for i, a := range args[:len(args)-1] {
		if a == "--persist-dir" {
			if id := c.ownerOf(args[i+1]); strings.HasPrefix(args[i+1], filepath.Join(c.o.Paths.RunRoot, "containers")+"/") {
				return id
			}
		}
	}
	return ""
}

// runtimeStates finds what OCI runtimes keep of containers that are not there.
func (c *Checker) runtimeStates(context.Context) ([]suspect, error) {
	var out []suspect
	folders, err := filepath.Glob(filepath.Join(c.o.Paths.RunRoot, "runtimes", "*", "*"))
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		id, name := filepath.Base(f), filepath.Base(filepath.Dir(f))
		if info, err := os.Lstat(f); err != nil || !info.IsDir() || c.known(id) {
			continue
		}
		out = append(out, suspect{record.Finding{
			Kind: "runtime state", Object: f, Problem: fmt.Sprintf("there is no container %q", id), Repair: "delete it with " + name,
			Mend: func(ctx context.Context) error {
				if c.known(id) {
					return nil
				}
				rt, err := c.o.Runtime(name)
				if err == nil {
					err = ctr.AbsentOK(rt.Delete(ctx, id, true))
				}
				if err != nil {
					return err
				}
				return os.RemoveAll(f) // an empty one is none to the runtime
			},
		}, func() bool { return exists(f) && !c.known(id) }})
	}
	return out, nil
}

// exits finds notices of exits of containers that are not there.
func (c *Checker) exits(context.Context) ([]suspect, error) {
	dir := filepath.Join(c.o.Paths.RunRoot, "exits")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading exits: %w", err)
	}
	var out []suspect
	for _, e := range entries {
		id, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), "."), ".")
		path := filepath.Join(dir, e.Name())
		if c.known(id) {
			continue
		}
		out = append(out, suspect{record.Finding{
			Kind: "exit file", Object: path, Problem: fmt.Sprintf("there is no container %q", id), Repair: "remove it",
			Mend: func(context.Context) error {
				if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				return nil
			},
		}, func() bool { return exists(path) && !c.known(id) }})
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
