package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/leftover"
	"github.com/davit-containers/davit/ctr/nspin"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/netw/netns"
)

// checker finds what does not agree with the records of pods.
type checker struct{ *riser }

// idle tells whether a record holds nothing of the machine.
func (c *checker) idle(e record.Entry[Config, Status]) bool {
	s := c.sandbox(e).Status
	return (s.State == Created || s.State == NotReady) && !s.Attached && s.Cgroup == "" && s.Slice == "" &&
		s.Infra == "" && s.Namespaces == (Pinned{})
}

// Owners tell whose a resource is that carries a pod's ID.
func (c *checker) Owners() record.Owners { return c.dir.Owners(c.idle) }

// Check finds what does not agree with the records of pods: what package record
// finds in them, pods that lack what they say they have, or have what is due to
// be given back; and what no pod holds: mounts, pinned namespaces, files, cgroups
// with their processes. Networks are package netw's to look for.
func (c *checker) Check(ctx context.Context) ([]record.Finding, error) {
	// First what there is, then whose it is.
	mounts, merr := leftover.Mounts(filepath.Dir(c.runDir("x")))
	groups, gerr := c.cgroups()
	list, err := c.dir.Check(record.Settlers{Settle: c.settle, Discard: c.discard, Revive: c.revive})
	owners := c.Owners()
	for _, m := range mounts {
		if owners.Use(m.ID) != record.Gone || !mountedAt(m.Path) {
			continue
		}
		list = append(list, record.Finding{
			Kind: "mount", Object: m.Path, Problem: "no pod holds it", Repair: "unmount it",
			Mend: owners.Mend(m.ID, func(context.Context) error { return leftover.Unmount(m.Path) }),
		})
	}
	list = append(list, groups...)
	entries, lerr := c.dir.List()
	for _, e := range entries {
		if e.Op == nil && e.Damaged == nil && !e.Lost {
			list = append(list, c.pod(ctx, e)...)
		}
	}
	due, derr := c.due(ctx)
	return append(list, due...), errors.Join(merr, gerr, err, record.Unread(lerr), record.Unread(derr))
}

// mountedAt tells whether a path is a mount point, or none of this process's to
// look at.
func mountedAt(path string) bool {
	pinned, err := netns.Pin(path)
	return err != nil || pinned || mountPoint(path)
}

// pod compares one record with what there is. It looks twice, so that nothing is
// told of a pod that somebody is at work on.
func (c *checker) pod(ctx context.Context, e record.Entry[Config, Status]) []record.Finding {
	s := c.sandbox(e)
	object := fmt.Sprintf("pod %q (%s)", s.Config.Name, s.ID)
	var list []record.Finding
	add := func(kind, problem, repair string, mend func(context.Context, string) error) {
		list = append(list, record.Finding{
			Kind: kind, Object: object, Problem: problem, Repair: repair,
			Mend: func(ctx context.Context) error { return mend(ctx, s.ID) },
		})
	}
	switch {
	case s.Status.State == Removing || s.Status.State == Creating:
		add("pod", fmt.Sprintf("it is %s and nobody is at work on it", s.Status.State), "remove it", func(ctx context.Context, id string) error {
			return ctr.AbsentOK(c.Remove(ctx, id, RemoveOptions{Force: true, Timeout: ctr.AtOnce()}))
		})
	case s.Status.State == Ready:
		for _, what := range c.missing(ctx, s) {
			add(what.kind, what.problem, what.repair, what.mend)
		}
	case c.idle(e):
		for _, path := range c.leavings(s.ID) {
			add("run file", path+" is there, and the pod holds nothing", "give it back", c.clear)
		}
	}
	if s.Config.Implicit && !c.ctrs.Exists(s.ID) {
		add("pod", "its container is gone", "remove it", c.dropOrphan)
	} else if s.Config.Implicit && !c.idle(e) && c.ctrs.Owners().Use(s.ID) == record.Idle && !c.waits(ctx, s.ID) {
		add("pod", "its container has ended, and it still has what it had", "give it back", c.afterExit)
		list[len(list)-1].Until = func(ctx context.Context) { c.ctrs.AwaitMonitors(ctx, s.ID) }
	}
	if len(list) == 0 {
		return nil
	}
	if again, err := c.dir.Get(s.ID); err != nil || again.Op != nil || again.Number != e.Number {
		return nil
	}
	return list
}

// waits tells whether a container has ended and is to be started again: it keeps its
// pod as long.
func (c *checker) waits(ctx context.Context, id string) bool {
	k, err := c.ctrs.Get(ctx, id)
	_, due := k.RestartDue(c.o.Now())
	return err == nil && due
}

// lack is something that a ready pod does not have.
type lack struct {
	kind, problem, repair string
	mend                  func(context.Context, string) error
}

// missing is what a ready pod says it has and has not.
func (c *checker) missing(ctx context.Context, s Sandbox) []lack {
	var out []lack
	for _, ns := range unpinned(s) {
		out = append(out, lack{
			"namespace", fmt.Sprintf("its %s namespace is not pinned at %s", ns.kind, ns.path),
			"pin it from a container that runs in it, else mark the pod not ready", c.repin,
		})
	}
	if s.Config.Namespaces.IPC == spec.ModePod && !mountPoint(filepath.Join(c.runDir(s.ID), shmDir)) {
		out = append(out, lack{"mount", "its /dev/shm is not mounted", "mount a new one", c.remount})
	}
	if host, err := c.o.Cgroups(); err == nil && s.Status.Cgroup != "" && s.Status.Slice == "" && !cgroup.Exists(host, s.Status.Cgroup) {
		out = append(out, lack{"cgroup", fmt.Sprintf("its cgroup %s is not there", s.Status.Cgroup), "mark the pod not ready", c.markNotReady})
	}
	if _, err := netw.Attached(c.runDir(s.ID)); attaches(s.Config) && errdefs.IsNotFound(err) {
		out = append(out, lack{"network", "there is no record of its network", "mark the pod not ready", c.markNotReady})
	}
	if infraGone(ctx, c.records, s) {
		out = append(out, lack{"container", "its infra container does not run", "mark the pod not ready", c.markNotReady})
	}
	return out
}

// pinnedKind is one pinned namespace.
type pinnedKind struct{ kind, path string }

func (p Pinned) all() []pinnedKind {
	var out []pinnedKind
	for _, k := range []pinnedKind{{"user", p.User}, {"net", p.Net}, {"ipc", p.IPC}, {"uts", p.UTS}, {"pid", p.PID}} {
		if k.path != "" {
			out = append(out, k)
		}
	}
	return out
}

// whileReady runs f under the operation lock of a pod that is ready.
func (c *checker) whileReady(ctx context.Context, id string, f func(Sandbox) error) error {
	op, err := c.dir.TryBegin(id, record.KindCheck)
	if err != nil {
		return ctr.AbsentOK(err)
	}
	if _, dead := op.Prior(); dead {
		op.Abandon() // a finding of its own
		return nil
	}
	s, err := c.Get(ctx, id)
	if err == nil && s.Status.State == Ready {
		err = f(s)
	}
	return errors.Join(ctr.AbsentOK(err), op.End())
}

// repin pins the namespaces that are not pinned any more, from containers that
// run in them. Where none does they are gone, and the pod is not ready: what is
// left of it is given back when it is stopped or started.
func (c *checker) repin(ctx context.Context, id string) error {
	return c.whileReady(ctx, id, func(s Sandbox) error {
		if lost := pinAgain(c.records, s); lost != "" {
			return c.unreadied(ctx, s, lost)
		}
		return nil
	})
}

// pinFrom pins a namespace of a pod from a container that has it.
func pinFrom(c *records, s Sandbox, ns pinnedKind) bool {
	for _, k := range c.ctrs.In(s.ID) {
		n := k.Config.Namespaces
		own := map[string]spec.Namespace{"net": n.Network, "ipc": n.IPC, "uts": n.UTS, "user": n.User, "pid": n.PID}[ns.kind]
		if !k.Status.Alive() || own.Mode != "" && own.Mode != spec.ModePod || ns.kind == "pid" && k.Config.PIDTarget != "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(ns.path), 0o711); err != nil {
			return false
		}
		if nspin.Pin(ns.path, ns.kind, k.Status.Process()) == nil {
			return true
		}
	}
	return false
}

// unpinned are the namespaces of a pod that somebody has unpinned.
func unpinned(s Sandbox) []pinnedKind {
	return slices.DeleteFunc(s.Status.Namespaces.all(), func(ns pinnedKind) bool {
		pinned, err := netns.Pin(ns.path)
		return pinned || err != nil
	})
}

// pinAgain pins what somebody has unpinned of a pod whose operation is the caller's,
// from containers that run: they have it still. It says what is gone; "" for nothing.
func pinAgain(c *records, s Sandbox) (gone string) {
	var lost []string
	for _, ns := range unpinned(s) {
		if !pinFrom(c, s, ns) {
			lost = append(lost, ns.kind)
		}
	}
	if len(lost) == 0 {
		return ""
	}
	return "its namespaces are gone: " + strings.Join(lost, ", ")
}

// hold is pinAgain for those who have not the operation: before containers end,
// with which the last of a namespace would go, in which plugins find what they have
// to take away on the host; and before one starts. Where somebody else is at work on
// the pod, that one looks after it.
func (c *records) hold(ctx context.Context, id string) (gone string, err error) {
	s, err := c.Get(ctx, id)
	if err != nil || len(unpinned(s)) == 0 {
		return "", ctr.AbsentOK(err)
	}
	op, err := c.dir.TryBegin(id, record.KindCheck)
	var busy *record.BusyError
	if errors.As(err, &busy) {
		return "", nil
	}
	if err != nil {
		return "", ctr.AbsentOK(err)
	}
	if _, dead := op.Prior(); dead { // who begins next settles that
		op.Abandon()
		return "", nil
	}
	return pinAgain(c, s), op.End()
}

func (c *checker) remount(ctx context.Context, id string) error {
	return c.whileReady(ctx, id, c.mountShm)
}

// markNotReady marks a pod that lacks what cannot be had again.
func (c *checker) markNotReady(ctx context.Context, id string) error {
	return c.whileReady(ctx, id, func(s Sandbox) error {
		lacks := c.missing(ctx, s)
		if len(lacks) == 0 {
			return nil
		}
		return c.unreadied(ctx, s, lacks[0].problem)
	})
}

func (c *checker) unreadied(ctx context.Context, s Sandbox, why string) error {
	_, err := c.update(ctx, s, func(n *Status) { n.State, n.Message = NotReady, why })
	return err
}

// leavings are the files and mounts below a pod's run folder that one has which
// holds something.
func (c *checker) leavings(id string) []string {
	var out []string
	for _, name := range []string{"ns", shmDir, pidPin, infraRootfs, hostsFile, resolvFile, hostnameFile} {
		path := filepath.Join(c.runDir(id), name)
		if _, err := os.Lstat(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}

// clear removes them, unless the pod holds something by now.
func (c *checker) clear(_ context.Context, id string) error {
	return c.Owners().Locked(id, func() error {
		return ctr.Undo(
			func() error { return netns.Remove(c.nsDir(id)) },
			func() error { return c.unpinPID(id) },
			func() error { return c.unmountShm(id) },
			func() error { return os.RemoveAll(filepath.Join(c.runDir(id), infraRootfs)) },
			func() error { return c.removeFiles(id) },
		)
	})
}

// due finds containers that have ended and were to be removed then, and those
// whose pod is gone.
func (c *checker) due(ctx context.Context) ([]record.Finding, error) {
	ctrs, err := c.ctrs.List(ctx)
	var list []record.Finding
	for _, k := range ctrs {
		f := record.Finding{Kind: "container", Object: fmt.Sprintf("container %q (%s)", k.Config.Name, k.ID)}
		switch {
		case k.Op != nil || c.ctrs.Owners().Use(k.ID) != record.Idle || c.waits(ctx, k.ID):
			continue
		case k.Status.State == ctr.Stopped && k.Config.Remove && !k.Config.Infra:
			f.Problem, f.Repair = "it was to be removed when it has ended", "remove it"
			f.Mend = func(ctx context.Context) error { return c.afterExit(ctx, k.ID) }
			f.Until = func(ctx context.Context) { c.ctrs.AwaitMonitors(ctx, k.ID) }
		case c.Owners().Use(k.Config.Sandbox) == record.Gone && c.ctrs.Exists(k.ID):
			f.Problem, f.Repair, f.Loses = fmt.Sprintf("its pod %s is gone", k.Config.Sandbox), "remove it", true
			f.Mend = func(ctx context.Context) error {
				return ctr.AbsentOK(c.RemoveContainer(ctx, k.ID, ctr.RemoveOptions{}))
			}
		default:
			continue
		}
		list = append(list, f)
	}
	return list, err
}

// discard removes a pod whose configuration cannot be read, and ends what there is
// of it. Its network is left by what is recorded of it, and by its traces.
func (c *checker) discard(ctx context.Context, id string) error {
	op, err := c.dir.TryBegin(id, opStop)
	if err != nil {
		return ctr.AbsentOK(err)
	}
	if _, err := c.dir.Get(id); !errors.Is(err, record.ErrCorrupt) {
		return op.End()
	}
	for _, k := range c.ctrs.In(id) {
		if err = ctr.AbsentOK(c.ctrs.Stop(ctx, k.ID, ctr.StopOptions{})); err != nil {
			op.Abandon()
			return err
		}
	}
	err = ctr.Undo(
		func() error {
			return ctr.AbsentOK(c.o.Networks.Detach(ctx, netw.Request{ID: id, Dir: c.runDir(id), PinDir: c.nsDir(id)}))
		},
		func() error { return netns.Remove(c.nsDir(id)) },
		func() error { return c.unpinPID(id) },
		func() error { return c.unmountShm(id) },
		func() error { return c.removeFiles(id) },
	)
	if err != nil {
		op.Abandon()
		return err
	}
	return op.Remove(ctx)
}

// revive writes a status for a pod whose own cannot be read, of what there is. It
// is ready where it has a record of its network, or needs none and has namespaces.
func (c *checker) revive(ctx context.Context, id string) error {
	op, err := c.dir.TryBegin(id, record.KindCheck)
	if err != nil {
		return ctr.AbsentOK(err)
	}
	e, err := c.dir.Get(id)
	if err != nil || e.Damaged == nil {
		return errors.Join(ctr.AbsentOK(err), op.End())
	}
	s := Status{State: NotReady, Message: "its status was lost", Namespaces: c.pinned(id), Attached: attaches(e.Config)}
	for _, k := range c.ctrs.In(id) {
		if k.Config.Infra {
			s.Infra = k.ID
		}
	}
	if place, perr := c.o.CgroupDriver.Pod(e.Config.CgroupParent, id); perr == nil && !e.Config.CgroupsOff {
		if s.Cgroup = place.Path; !place.Own {
			s.Slice = place.Parent
		}
	}
	var nerr error
	if s.Attached {
		s.Attachment, nerr = netw.Attached(c.runDir(id))
	}
	if nerr == nil && s.Namespaces != (Pinned{}) {
		s.State, s.Message, s.StartedAt = Ready, "", c.o.Now()
	}
	_, err = c.dir.Update(ctx, id, func(Status) (Status, error) { return s, nil })
	return errors.Join(err, op.End())
}

// pinned are the namespaces that are pinned for a pod.
func (c *checker) pinned(id string) Pinned {
	var p Pinned
	for name, path := range map[string]*string{"net": &p.Net, "ipc": &p.IPC, "uts": &p.UTS, "user": &p.User} {
		at := filepath.Join(c.nsDir(id), name)
		if ok, err := netns.Pin(at); err == nil && ok {
			*path = at
		}
	}
	if at := filepath.Join(c.runDir(id), pidPin); mountedAt(at) {
		p.PID = at
	}
	return p
}

// cgroups finds those of pods and of containers that hold nothing, or are gone,
// below davit's own parent and wherever pods on record have, or had, theirs.
func (c *checker) cgroups() ([]record.Finding, error) {
	host, err := c.o.Cgroups()
	if err != nil {
		return nil, nil // none can be there
	}
	g := &groups{checker: c, host: host, seen: map[string]bool{}}
	if parent := c.o.CgroupDriver.Parent; !c.o.CgroupDriver.Systemd {
		names, err := cgroup.Children(host, parent)
		if err != nil {
			return nil, err
		}
		for _, id := range names {
			if _, ok := c.o.CgroupDriver.ContainerOf(id); ok { // pods' IDs look alike
				g.pod(id, filepath.Join(parent, id))
			}
		}
	} else if slice, err := cgroup.SlicePath(strings.Trim(parent, "/") + ".slice"); err == nil {
		g.containers(slice)
	}
	entries, err := c.dir.List()
	for _, e := range entries {
		if place, perr := c.o.CgroupDriver.Pod(e.Config.CgroupParent, e.ID); perr == nil && place.Path != "" {
			if place.Own {
				g.pod(e.ID, place.Path)
			} else {
				g.containers(place.Path)
			}
		}
		if e.Status.Cgroup != "" {
			g.containers(e.Status.Cgroup)
		}
	}
	return g.list, record.Unread(err)
}

// groups is one look at cgroups.
type groups struct {
	*checker
	host *cgroup.Host
	seen map[string]bool
	list []record.Finding
}

// pod looks at the cgroup of a pod, if it is there.
func (g *groups) pod(id, path string) {
	if !g.once(path) || !cgroup.Exists(g.host, path) {
		return
	}
	if !g.add(g.Owners(), id, path, "no pod holds it") {
		g.containers(path)
	}
}

func (g *groups) once(path string) bool {
	before := g.seen[path]
	g.seen[path] = true
	return !before
}

// containers looks at the cgroups of containers below one.
func (g *groups) containers(path string) {
	if !g.once(path + "/") {
		return
	}
	names, err := cgroup.Children(g.host, path)
	if err != nil {
		return
	}
	for _, name := range names {
		if id, ok := g.o.CgroupDriver.ContainerOf(name); ok {
			g.add(g.ctrs.Owners(), id, filepath.Join(path, name), "no container holds it")
		}
	}
}

// add tells of a cgroup whose owner holds nothing.
func (g *groups) add(o record.Owners, id, path, problem string) bool {
	if o.Use(id) == record.Held || !cgroup.Exists(g.host, path) {
		return false
	}
	repair := "remove it"
	if pids, err := g.host.Procs(path); err == nil && len(pids) > 0 {
		problem, repair = fmt.Sprintf("%s, and processes %v are in it", problem, pids), "kill them and remove it"
	}
	g.list = append(g.list, record.Finding{
		Kind: "cgroup", Object: path, Problem: problem, Repair: repair,
		Mend: o.Mend(id, func(ctx context.Context) error {
			if err := ctr.AbsentOK(g.host.Kill(ctx, path)); err != nil {
				return err
			}
			return errors.Join(ctr.AbsentOK(g.host.Remove(ctx, path)), g.host.Prune(g.o.CgroupDriver.Parent))
		}),
	})
	return true
}
