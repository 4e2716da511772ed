package check

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/pod"
)

// Options are what is compared.
type Options struct {
	Paths      record.Paths
	Pods       *pod.Controller
	Containers *ctr.Controller
	// Leftovers finds what pods that are not valid have left in networks.
	Leftovers func(valid func(id string) bool) ([]record.Finding, error)
	Images    Images
	// Runtime finds an OCI runtime by its name.
	Runtime func(name string) (oci.Runtime, error)
	// Cgroups are the host's hierarchies, and CgroupParent where davit's pods are
	// in them. Nil are not looked at.
	Cgroups      *cgroup.Host
	CgroupParent string
}

// Images knows the root filesystems. *img.Store is one.
type Images interface {
	RootfsContainers(ctx context.Context) ([]img.Rootfs, error)
	UnmountRootfs(ctx context.Context, id string) error
	DeleteRootfs(ctx context.Context, id string) error
}

// Checker compares the records of one davit with the machine.
type Checker struct {
	o Options
	// asked at the beginning of a run
	containers []ctr.Container
	pods       []pod.Sandbox
}

// New returns a Checker.
func New(o Options) *Checker { return &Checker{o: o} }

// Run looks everywhere. The findings are good beside an error, which says what
// could not be looked at.
func (c *Checker) Run(ctx context.Context) ([]record.Finding, error) {
	var (
		found []record.Finding
		errs  []error
		err   error
	)
	c.containers, err = c.o.Containers.List(ctx)
	errs = append(errs, unread(err))
	c.pods, err = c.o.Pods.List(ctx)
	errs = append(errs, unread(err))
	for _, look := range []func(context.Context) ([]record.Finding, error){
		func(context.Context) ([]record.Finding, error) { return c.o.Containers.CheckRecords() },
		func(context.Context) ([]record.Finding, error) { return c.o.Pods.CheckRecords() },
		c.processes, c.members, c.namespaces, c.rootfs, c.runtimeStates, c.cgroups, c.mounts, c.exits,
		func(context.Context) ([]record.Finding, error) { return c.o.Leftovers(c.o.Pods.Known) },
	} {
		more, err := look(ctx)
		found, errs = append(found, more...), append(errs, err)
	}
	return found, errors.Join(errs...)
}

// unread is the error of a list, but for records that are damaged: these are
// findings of their own.
func unread(err error) error {
	if errors.Is(err, record.ErrCorrupt) {
		return nil
	}
	return err
}

// Outcome is what became of a finding.
type Outcome struct {
	record.Finding
	// Repaired says that it is put right; Error why not, "" where that is left to
	// whoever reads it.
	Repaired bool   `json:"repaired"`
	Error    string `json:"error,omitempty"`
}

// Repair mends what can be mended, and looks again: what one repair brings to
// light is mended too. It returns what it did and what is left.
func (c *Checker) Repair(ctx context.Context) ([]Outcome, error) {
	var done []Outcome
	for range 3 {
		found, err := c.Run(ctx)
		if err != nil {
			return done, err
		}
		left := make([]Outcome, 0, len(found))
		mended := 0
		for _, f := range found {
			o := Outcome{Finding: f}
			if f.Mend != nil {
				if err := f.Mend(ctx); err != nil {
					o.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
				} else {
					o.Repaired = true
					mended++
					done = append(done, o)
					continue
				}
			}
			left = append(left, o)
		}
		if mended == 0 {
			return append(done, left...), nil
		}
	}
	found, err := c.Run(ctx)
	for _, f := range found {
		done = append(done, Outcome{Finding: f, Error: "it is there again after it was repaired"})
	}
	return done, err
}

// known tells whether an ID may have resources: it is a container's or a pod's.
func (c *Checker) known(id string) bool {
	return c.o.Containers.Known(id) || c.o.Pods.Known(id)
}

// idle runs f while nobody is at work on a container, and only if it is still
// without a process. A container that is not there is nothing to do.
func (c *Checker) idle(ctx context.Context, id string, f func(context.Context, ctr.Container) error) error {
	return ctr.AbsentOK(c.o.Containers.WhileIdle(ctx, id, f))
}

// members finds containers without their pod, and pods of one container without
// that.
func (c *Checker) members(ctx context.Context) ([]record.Finding, error) {
	var out []record.Finding
	for _, k := range c.containers {
		if k.Op == nil && k.Config.Sandbox != "" && !c.o.Pods.Known(k.Config.Sandbox) && c.o.Containers.Known(k.ID) {
			out = append(out, record.Finding{
				Kind: "container", Object: k.ID, Problem: fmt.Sprintf("its pod %q is not there", k.Config.Sandbox),
				Repair: "davit rm --force " + k.Config.Name,
			})
		}
	}
	for _, s := range c.pods {
		if s.Op == nil && s.Config.Implicit && !c.o.Containers.Known(s.ID) && c.o.Pods.Known(s.ID) {
			out = append(out, record.Finding{
				Kind: "pod", Object: s.ID, Problem: "its only container is not there", Repair: "remove it",
				Mend: c.o.Pods.Sweep,
			})
		}
	}
	return out, nil
}

// rootfs finds storage containers of containers that are not there, containers
// without theirs, and those that are mounted for nobody.
func (c *Checker) rootfs(ctx context.Context) ([]record.Finding, error) {
	all, err := c.o.Images.RootfsContainers(ctx)
	if err != nil {
		return nil, err
	}
	var out []record.Finding
	has := map[string]img.Rootfs{}
	for _, r := range all {
		has[r.ID] = r
		owner := r.ID
		if r.For != "" {
			owner = r.For
		}
		if r.Ours && !c.known(owner) {
			out = append(out, record.Finding{
				Kind: "root filesystem", Object: r.ID, Problem: fmt.Sprintf("there is no container %q", owner), Repair: "remove it",
				Mend: func(ctx context.Context) error {
					if c.known(owner) {
						return nil
					}
					return ctr.AbsentOK(c.o.Images.DeleteRootfs(ctx, r.ID))
				},
			})
		}
	}
	for _, k := range c.containers {
		if k.Op != nil || !k.Made() || k.Config.Rootfs != "" || k.Config.Image.ID == "" || !c.o.Containers.Known(k.ID) {
			continue
		}
		r, ok := has[k.ID]
		switch {
		case !ok && c.stillWithout(ctx, k.ID):
			out = append(out, record.Finding{
				Kind: "container", Object: k.ID, Problem: "its root filesystem is not there", Repair: "davit rm --force " + k.Config.Name,
			})
		case ok && r.Mounted && !k.Status.Alive() && !k.Status.Prepared && k.Status.Mounted == "":
			out = append(out, record.Finding{
				Kind: "mount", Object: k.ID, Problem: fmt.Sprintf("container %q is %s and its root filesystem is mounted", k.Config.Name, k.Status.State), Repair: "unmount it",
				Mend: func(ctx context.Context) error {
					return c.idle(ctx, k.ID, func(ctx context.Context, _ ctr.Container) error {
						return ctr.AbsentOK(c.o.Images.UnmountRootfs(ctx, k.ID))
					})
				},
			})
		}
	}
	return out, nil
}

// stillWithout looks once more: the container may have gone since it was listed.
func (c *Checker) stillWithout(ctx context.Context, id string) bool {
	all, err := c.o.Images.RootfsContainers(ctx)
	return err == nil && c.o.Containers.Known(id) && !slices.ContainsFunc(all, func(r img.Rootfs) bool { return r.ID == id })
}

// cgroups finds cgroups below davit's parent of pods and containers that are not
// there, or have none.
func (c *Checker) cgroups(context.Context) ([]record.Finding, error) {
	if c.o.Cgroups == nil || c.o.CgroupParent == "" {
		return nil, nil
	}
	var out []record.Finding
	add := func(path, problem string, mend func(context.Context) error) {
		out = append(out, record.Finding{Kind: "cgroup", Object: path, Problem: problem, Repair: "end what is in it, and remove it", Mend: mend})
	}
	for _, id := range c.o.Cgroups.Children(c.o.CgroupParent) {
		path := filepath.Join(c.o.CgroupParent, id)
		if id == cgroup.Monitors {
			continue
		}
		if !c.known(id) {
			if c.there(path) && !c.known(id) {
				add(path, fmt.Sprintf("there is no pod %q", id), func(ctx context.Context) error { return c.removeCgroup(ctx, path, id) })
			}
			continue
		}
		for _, child := range c.o.Cgroups.Children(path) {
			below := filepath.Join(path, child)
			if !c.known(child) && c.there(below) && !c.known(child) {
				add(below, fmt.Sprintf("there is no container %q", child), func(ctx context.Context) error { return c.removeCgroup(ctx, below, child) })
			}
		}
	}
	return out, nil
}

// there tells whether a cgroup is.
func (c *Checker) there(path string) bool {
	return slices.Contains(c.o.Cgroups.Children(filepath.Dir(path)), filepath.Base(path))
}

// removeCgroup ends what is in a cgroup of an object that is not there, and
// removes it.
func (c *Checker) removeCgroup(ctx context.Context, path, id string) error {
	if c.known(id) {
		return nil
	}
	err := c.o.Cgroups.Kill(ctx, path)
	if err == nil || errdefs.IsNotFound(err) {
		err = c.o.Cgroups.Remove(ctx, path)
	}
	if errdefs.IsNotFound(err) {
		err = nil
	}
	return errors.Join(err, c.o.Cgroups.Prune(c.o.CgroupParent))
}
