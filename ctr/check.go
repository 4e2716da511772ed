package ctr

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/leftover"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/rootfs"
	"github.com/davit-containers/davit/ctr/spec"
)

// checker finds what does not agree with the records of containers.
type checker struct{ *stopper }

// idle tells whether a record holds nothing of the machine but a root filesystem.
func (c *checker) idle(e record.Entry[Config, Status]) bool {
	s := c.derive(e).Status
	return (s.State == Created || s.State == Stopped) && !s.Prepared && s.Mounted == "" && s.Cgroup == ""
}

// Owners tell whose a resource is that carries a container's ID.
func (c *checker) Owners() record.Owners { return c.dir.Owners(c.idle) }

// Check finds what does not agree with the records of containers: what package
// record finds in them, containers that have ended and are not settled, statuses
// that the processes belie; and what no container holds: monitors and runtimes,
// what runtimes keep, mounts, bundles, files of exits, halves of volumes. Cgroups
// are their pods' to look for, root filesystems the image store's.
func (c *checker) Check(ctx context.Context) ([]record.Finding, error) {
	// First what there is, then whose it is.
	running, perr := processes(c.records)
	mounts, merr := c.mounts()
	states, serr := filepath.Glob(filepath.Join(runtimesDir(c.o.Paths), "*", "*"))
	bundles, berr := filepath.Glob(c.bundle("*"))
	exits, eerr := filepath.Glob(filepath.Join(c.exitDir(), "*"))
	roots, rerr := filepath.Glob(exposed(c.o.Paths, "*"))

	list, err := c.dir.Check(record.Settlers{Settle: c.settleAll, Discard: c.discard, Revive: c.revive})
	belied, lerr := c.belied()
	list = append(list, belied...)
	for _, p := range running {
		list = append(list, c.process(p)...)
	}
	owners := c.Owners()
	left := func(kind, id, path, repair string, mend func(context.Context) error) {
		if owners.Use(id) == record.Held || !exists(path) {
			return
		}
		list = append(list, record.Finding{
			Kind: kind, Object: path, Problem: "no container holds it", Repair: repair, Mend: owners.Mend(id, mend),
		})
	}
	for _, m := range mounts {
		left("mount", m.ID, m.Path, "unmount it", func(context.Context) error { return leftover.Unmount(m.Path) })
	}
	for _, path := range roots {
		left("run folder", filepath.Base(path), path, "remove it", func(context.Context) error { return rootfs.Hide(path) })
	}
	for _, path := range states {
		left("runtime state", filepath.Base(path), path, "have the runtime delete it", func(ctx context.Context) error { return c.forget(ctx, path) })
	}
	for _, path := range bundles {
		id := filepath.Base(filepath.Dir(path))
		if owners.Use(id) == record.Idle { // without a record the whole folder is a finding
			left("bundle", id, path, "remove it", func(context.Context) error { return os.RemoveAll(path) })
		}
	}
	for _, path := range exits {
		id, _, _ := strings.Cut(filepath.Base(path), ".") // half written, with a suffix
		n := len(list)
		if k, err := c.Get(ctx, id); err == nil && k.NeedsCare(c.o.Now()) {
			continue // what follows its end is due when it is not started again
		}
		left("exit file", id, path, "remove it", func(context.Context) error { return absentOS(os.Remove(path)) })
		for i := range list[n:] {
			list[n+i].Until = func(ctx context.Context) { c.AwaitMonitors(ctx, id) }
		}
	}
	volumes, verr := c.o.Volumes.Check()
	return append(list, volumes...), errors.Join(perr, merr, serr, berr, eerr, rerr, err, lerr, verr)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// runtimesDir is where the runtimes' folders of state are that davit chose.
func runtimesDir(p record.Paths) string { return filepath.Join(p.RunRoot, "runtimes") }

// mounts are those in containers' run folders and of exposed root filesystems.
func (c *checker) mounts() ([]leftover.Mount, error) {
	own, err := leftover.Mounts(filepath.Dir(c.dir.RunDir("x")))
	seen, rerr := leftover.Mounts(filepath.Dir(exposed(c.o.Paths, "x")))
	return append(own, seen...), errors.Join(err, rerr)
}

// settleAll settles what a dead owner left on a container, and what then is due.
func (c *checker) settleAll(ctx context.Context, id string) error {
	if err := c.Settle(ctx, id); err != nil || c.ended == nil {
		return err
	}
	return c.ended(ctx, id)
}

// belied compares statuses with processes.
func (c *checker) belied() ([]record.Finding, error) {
	entries, err := c.dir.List()
	mounted := sync.OnceValues(func() (map[string]bool, error) {
		all, err := mountinfo.GetMounts(nil)
		set := map[string]bool{}
		for _, m := range all {
			set[m.Mountpoint] = true
		}
		return set, err
	})
	var list []record.Finding
	for _, e := range entries {
		if e.Op != nil || e.Lost || e.Damaged != nil {
			continue
		}
		f := record.Finding{Kind: "container", Object: fmt.Sprintf("container %q (%s)", e.Key, e.ID)}
		raw, now := e.Status, c.derive(e).Status
		switch {
		case raw.State == Removing || raw.State == Creating:
			f.Problem, f.Repair = fmt.Sprintf("it is %s and nobody is at work on it", raw.State), "remove it"
			f.Mend = func(ctx context.Context) error {
				return AbsentOK(c.Remove(ctx, e.ID, RemoveOptions{Force: true, Timeout: AtOnce()}))
			}
		case (now.Alive() || now.Prepared) && !raw.Monitor().Alive() && raw.Process().Alive():
			f.Problem = fmt.Sprintf("it is %s and its monitor is gone: nothing is logged, and its exit code will not be known", now.State)
			f.Repair = "restart it"
			if now.Prepared {
				f.Repair = "remove it and make it anew"
			}
		case !now.Alive() && !now.Prepared && raw.Mounted != "":
			f.Problem, f.Repair = "it has ended and is not settled", "settle it"
			f.Mend = func(ctx context.Context) error { return c.settleEnded(ctx, e.ID) }
			f.Until = func(ctx context.Context) { _ = monitor.AwaitGone(ctx, raw.Monitor()) }
		case now.Alive() && filepath.Base(raw.Mounted) == "merged": // an overlay's
			if set, merr := mounted(); merr != nil || set[raw.Mounted] {
				continue
			}
			f.Problem, f.Repair = "it runs and its root filesystem is not mounted at "+raw.Mounted, "restart it"
		default:
			continue
		}
		if again, err := c.dir.Get(e.ID); err == nil && again.Number == e.Number && again.Op == nil {
			list = append(list, f)
		}
	}
	return list, record.Unread(err)
}

// settleEnded settles a container that has ended, and what is due then.
func (c *checker) settleEnded(ctx context.Context, id string) error {
	if _, _, err := c.Exited(ctx, id, 0); err != nil || c.ended == nil {
		return AbsentOK(err)
	}
	return c.ended(ctx, id)
}

// process judges a monitor or a runtime.
func (c *checker) process(p leftover.Process) []record.Finding {
	f := record.Finding{
		Kind: "monitor", Object: fmt.Sprintf("%s, process %d", p.Name, p.Pid), Repair: "kill it",
		Until: func(ctx context.Context) { c.awaitEnding(ctx, p) },
		Mend: func(ctx context.Context) error {
			if len(c.process(p)) == 0 {
				return nil
			}
			if err := monitor.Signal(p.Process, sigKill); err != nil {
				return AbsentOK(err)
			}
			return monitor.AwaitGone(ctx, p.Process)
		},
	}
	if p.Verb != "" {
		f.Kind = "runtime"
	}
	e, err := c.dir.Get(p.ID)
	switch {
	case c.Owners().Use(p.ID) == record.Gone:
		f.Problem = fmt.Sprintf("there is no container %s, of which it is", p.ID)
	case err != nil, e.Op != nil, p.Verb == "" && e.Status.MonitorPid == p.Pid, e.Damaged != nil:
		return nil
	case e.Status.Process() == p.Process: // an init of crun that waits to be started looks like what has forked it
		return nil
	case p.Verb != "":
		f.Problem = fmt.Sprintf("it is to %s container %s and nobody waits for it", p.Verb, p.ID)
	default:
		f.Problem = fmt.Sprintf("it is not the monitor of container %s that is on record", p.ID)
	}
	if now, err := c.dir.Get(p.ID); err == nil && (now.Op != nil || now.Number != e.Number) || !p.Alive() {
		return nil
	}
	return []record.Finding{f}
}

// AwaitMonitors waits until no monitor of a container lives, nor therefore the
// exit command that it runs, or ctx ends.
func (c *checker) AwaitMonitors(ctx context.Context, id string) {
	all, _ := processesOf(c.records, id)
	for _, p := range all {
		if p.Verb == "" {
			c.awaitEnding(ctx, p)
		}
	}
}

// awaitEnding waits for a process that may be on its way out.
func (c *checker) awaitEnding(ctx context.Context, p leftover.Process) {
	if self, err := os.Executable(); err == nil && p.Ending(self) {
		_ = monitor.AwaitGone(ctx, p.Process)
	}
}

// forget has the runtime delete what it keeps of a container that is gone; a
// runtime that is no more cannot.
func (c *checker) forget(ctx context.Context, path string) error {
	rt, err := c.o.Runtimes.Find(filepath.Base(filepath.Dir(path)))
	if err == nil {
		rt.Root = filepath.Dir(path)
		err = AbsentOK(rt.Delete(ctx, filepath.Base(path), true))
	}
	var failed *oci.Error
	if errdefs.IsNotFound(err) || errors.As(err, &failed) {
		err = nil
	}
	if err != nil {
		return err
	}
	return leftover.RemoveAll(filepath.Dir(path), filepath.Base(path))
}

// discard removes a container whose configuration cannot be read: what runs, what
// is mounted, its root filesystem and its record.
func (c *checker) discard(ctx context.Context, id string) error {
	op, err := c.dir.TryBegin(id, opRemove)
	if err != nil {
		return AbsentOK(err)
	}
	if _, err := c.dir.Get(id); !errors.Is(err, record.ErrCorrupt) {
		return op.End()
	}
	err = Undo(
		func() error { return killStrays(ctx, c.records, id) },
		func() error {
			states, err := filepath.Glob(filepath.Join(runtimesDir(c.o.Paths), "*", id))
			for _, path := range states {
				err = errors.Join(err, c.forget(ctx, path))
			}
			return err
		},
		func() error {
			mounts, err := c.mounts()
			for _, m := range mounts {
				if m.ID == id {
					err = errors.Join(err, leftover.Unmount(m.Path))
				}
			}
			return errors.Join(err, rootfs.Hide(exposed(c.o.Paths, id)))
		},
		func() error {
			images, err := c.o.Images(ctx)
			if err != nil {
				return err
			}
			return AbsentOK(images.DeleteRootfs(ctx, id))
		},
	)
	if err != nil {
		op.Abandon()
		return err
	}
	return op.Remove(ctx)
}

// revive writes a status for a container whose own cannot be read: as the runtime
// says where it has a process, else that it has ended with a code that nobody knows.
func (c *checker) revive(ctx context.Context, id string) error {
	op, err := c.dir.TryBegin(id, opExit)
	if err != nil {
		return AbsentOK(err)
	}
	e, err := c.dir.Get(id)
	if err != nil || e.Damaged == nil {
		return errors.Join(AbsentOK(err), op.End())
	}
	k := c.derive(e)
	if k.Status, err = c.lives(ctx, k); err == nil && k.Status.Pid == 0 {
		if err = killStrays(ctx, c.records, id); err == nil {
			k.Status = k.Status.stopped(monitor.Exit{Lost: true, Finished: c.o.Now()})
			k.Status.Mounted = unrecorded
		}
	}
	if err == nil {
		_, err = c.dir.Update(ctx, id, func(Status) (Status, error) { return k.Status, nil })
	}
	if err == nil {
		err = c.finish(ctx, k)
	}
	if err != nil {
		op.Abandon()
		return err
	}
	return op.End()
}

// lives is the status of a container by what the runtime and the machine say of
// it; without a pid where it has no process.
func (c *checker) lives(ctx context.Context, k Container) (Status, error) {
	s := Status{State: Stopped, Start: c.lastStart(k.ID)}
	rt, err := c.runtime(k.Config)
	if err != nil {
		return s, err
	}
	state, err := rt.State(ctx, k.ID)
	process, perr := record.ProcessOf(state.Pid)
	if err != nil || perr != nil || !process.Alive() {
		return s, nil
	}
	switch state.Status {
	case "created":
		s.State, s.Prepared = Created, true
	case "running":
		s.State = Running
	case "paused":
		s.State = Paused
	default:
		return s, nil
	}
	var bundle specs.Spec
	data, err := os.ReadFile(filepath.Join(c.bundle(k.ID), "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &bundle)
	}
	if err != nil || bundle.Process == nil || bundle.Linux == nil {
		return s, fmt.Errorf("reading bundle of container %q: %w", k.Config.Name, cmp.Or(err, error(record.ErrCorrupt)))
	}
	u := bundle.Process.User
	s.User = &spec.User{UID: u.UID, GID: u.GID, AdditionalGIDs: u.AdditionalGids}
	if s.Cgroup = bundle.Linux.CgroupsPath; c.o.CgroupDriver.Systemd && s.Cgroup != "" {
		if s.Cgroup, err = cgroup.ScopePath(s.Cgroup); err != nil {
			return s, err
		}
	}
	if s.Mounted, err = c.mount(ctx, k); err != nil {
		return s, err
	}
	of := monitor.Started{Process: process}
	all, err := processesOf(c.records, k.ID)
	for _, p := range all {
		if p.Verb == "" {
			of.Monitor = p.Process
		}
	}
	s.setProcesses(of)
	s.StartedAt = c.o.Now()
	return s, err
}

// lastStart is the number of the last start that there is a folder of.
func (c *checker) lastStart(id string) int {
	folders, _ := filepath.Glob(filepath.Join(c.dir.RunDir(id), "start.*"))
	last := 0
	for _, f := range slices.Sorted(slices.Values(folders)) {
		n := 0
		if _, err := fmt.Sscanf(strings.TrimPrefix(filepath.Base(f), "start."), "%d", &n); err == nil {
			last = max(last, n)
		}
	}
	return last
}
