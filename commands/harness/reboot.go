package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reboot does to these roots what a restart of the machine does, without warning:
// all their processes end by SIGKILL, and mounts, links, firewall rules and
// cgroups are gone. What was in the run root is gone too, as from a tmpfs, or with
// keep is of an earlier boot. Networks of the host's must have no firewall rules.
func (r Roots) Reboot(ctx context.Context, keep bool) error {
	if err := r.killAll(ctx); err != nil {
		return err
	}
	if err := r.unmountAll(); err != nil {
		return err
	}
	if err := errors.Join(r.RemoveNetwork(ctx), r.removeCgroups()); err != nil {
		return err
	}
	if keep {
		return r.NewBoot()
	}
	return errors.Join(os.RemoveAll(r.RunRoot), os.Mkdir(r.RunRoot, 0o711))
}

// killAll ends the processes of these roots. Their order is that of a restart in which
// nobody sees another one's end: davit before the monitors, those before containers.
func (r Roots) killAll(ctx context.Context) error {
	for {
		alive := r.Processes()
		slices.SortFunc(alive, func(a, b Process) int { return cmp.Compare(a.rank(), b.rank()) })
		for _, p := range alive {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d: %w", p.PID, err)
			}
		}
		if len(alive) == 0 {
			return nil
		}
		r.thaw()
		select {
		case <-ctx.Done():
			return fmt.Errorf("these do not end: %v: %w", alive, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// thaw lets what is frozen go on, which on cgroup v1 does not die else.
func (r Roots) thaw() {
	_ = filepath.WalkDir("/sys/fs/cgroup/freezer", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/davit-"+r.NetworkTag()) {
			_ = os.WriteFile(filepath.Join(path, "freezer.state"), []byte("THAWED"), 0)
		}
		return nil
	})
}

// unmountAll detaches all that is mounted below the roots.
func (r Roots) unmountAll() error {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	for _, line := range slices.Backward(strings.Split(string(data), "\n")) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[1], r.Root+"/") && !strings.HasPrefix(f[1], r.RunRoot+"/") {
			continue
		}
		if err := unix.Unmount(f[1], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", f[1], err)
		}
	}
	return nil
}

// removeCgroups removes the cgroups of these roots, in all hierarchies.
func (r Roots) removeCgroups() error {
	var dirs []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/davit-"+r.NetworkTag()) {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, removeCgroup(dir))
	}
	return err
}

// removeCgroup removes an empty cgroup, in which a process may still be dying.
func removeCgroup(dir string) error {
	for try := 0; ; try++ {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if try == 500 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
