package check

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
		found    []record.Finding
		suspects []suspect
		errs     []error
		err      error
	)
	c.containers, err = c.o.Containers.List(ctx)
	errs = append(errs, unread(err))
	c.pods, err = c.o.Pods.List(ctx)
	errs = append(errs, unread(err))
	for _, look := range []func() ([]record.Finding, error){
		c.o.Containers.CheckRecords, c.o.Pods.CheckRecords,
		func() ([]record.Finding, error) { return c.o.Leftovers(c.o.Pods.Known) },
	} {
		more, err := look()
		found, errs = append(found, more...), append(errs, err)
	}
	for _, look := range []func(context.Context) ([]suspect, error){
		c.members, c.namespaces, c.rootfs, c.processes, c.runtimeStates, c.cgroups, c.mounts, c.exits,
	} {
		more, err := look(ctx)
		suspects, errs = append(suspects, more...), append(errs, err)
	}
	return append(found, lasting(ctx, suspects)...), errors.Join(errs...)
}

// suspect is a finding unless it goes away by itself; still looks again.
type suspect struct {
	record.Finding
	still func() bool
}

// How long a suspect is watched, and how often.
const (
	looks     = 10
	lookAgain = 100 * time.Millisecond
)

// lasting are the suspects that do not go away.
func lasting(ctx context.Context, suspects []suspect) []record.Finding {
	for range looks {
		suspects = slices.DeleteFunc(suspects, func(s suspect) bool { return !s.still() })
		if len(suspects) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookAgain):
		}
	}
	out := make([]record.Finding, 0, len(suspects))
	for _, s := range suspects {
		out = append(out, s.Finding)
	}
	return out
}

// idleContainer is the container with an ID while nobody is at work on it.
func (c *Checker) idleContainer(ctx context.Context, id string) (ctr.Container, bool) {
	k, err := c.o.Containers.Get(ctx, id)
	return k, err == nil && k.Op == nil && k.Made()
}

// idlePod is the pod with an ID while nobody is at work on it.
func (c *Checker) idlePod(ctx context.Context, id string) (pod.Sandbox, bool) {
	s, err := c.o.Pods.Get(ctx, id)
	return s, err == nil && s.Op == nil
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
func (c *Checker) members(ctx context.Context) ([]suspect, error) {
	var out []suspect
	for _, k := range c.containers {
		if k.Config.Sandbox == "" || c.o.Pods.Known(k.Config.Sandbox) {
			continue
		}
		out = append(out, suspect{record.Finding{
			Kind: "container", Object: k.ID, Problem: fmt.Sprintf("its pod %q is not there", k.Config.Sandbox),
			Repair: "davit rm --force " + k.Config.Name,
		}, func() bool {
			_, idle := c.idleContainer(ctx, k.ID)
			return idle && !c.o.Pods.Known(k.Config.Sandbox)
		}})
	}
	for _, s := range c.pods {
		if !s.Config.Implicit || c.o.Containers.Known(s.ID) {
			continue
		}
		out = append(out, suspect{record.Finding{
			Kind: "pod", Object: s.ID, Problem: "its only container is not there", Repair: "remove it", Mend: c.o.Pods.Sweep,
		}, func() bool {
			_, idle := c.idlePod(ctx, s.ID)
			return idle && !c.o.Containers.Known(s.ID)
		}})
	}
	return out, nil
}

// rootfs finds storage containers of containers that are not there, containers
// without theirs, and those that are mounted for nobody.
func (c *Checker) rootfs(ctx context.Context) ([]suspect, error) {
	has, err := c.rootfsByID(ctx)
	if err != nil {
		return nil, err
	}
	var out []suspect
	for _, r := range has {
		owner := r.ID
		if r.For != "" {
			owner = r.For
		}
		if !r.Ours || c.known(owner) {
			continue
		}
		out = append(out, suspect{record.Finding{
			Kind: "root filesystem", Object: r.ID, Problem: fmt.Sprintf("there is no container %q", owner), Repair: "remove it",
			Mend: func(ctx context.Context) error {
				if c.known(owner) {
					return nil
				}
				return ctr.AbsentOK(c.o.Images.DeleteRootfs(ctx, r.ID))
			},
		}, func() bool {
			now, err := c.rootfsByID(ctx)
			_, there := now[r.ID]
			return err == nil && there && !c.known(owner)
		}})
	}
	for _, k := range c.containers {
		if k.Config.Rootfs != "" || k.Config.Image.ID == "" {
			continue
		}
		if r, ok := has[k.ID]; !ok {
			out = append(out, suspect{record.Finding{
				Kind: "container", Object: k.ID, Problem: "its root filesystem is not there", Repair: "davit rm --force " + k.Config.Name,
			}, func() bool {
				now, err := c.rootfsByID(ctx)
				_, there := now[k.ID]
				_, idle := c.idleContainer(ctx, k.ID)
				return err == nil && !there && idle
			}})
		} else if r.Mounted && unmounted(k) {
			out = append(out, suspect{record.Finding{
				Kind: "mount", Object: k.ID, Problem: fmt.Sprintf("container %q is %s and its root filesystem is mounted", k.Config.Name, k.Status.State), Repair: "unmount it",
				Mend: func(ctx context.Context) error {
					return c.idle(ctx, k.ID, func(ctx context.Context, _ ctr.Container) error {
						return ctr.AbsentOK(c.o.Images.UnmountRootfs(ctx, k.ID))
					})
				},
			}, func() bool {
				now, err := c.rootfsByID(ctx)
				k, idle := c.idleContainer(ctx, k.ID)
				return err == nil && now[k.ID].Mounted && idle && unmounted(k)
			}})
		}
	}
	return out, nil
}

// unmounted says that a container has nothing mounted, as its record has it.
func unmounted(k ctr.Container) bool {
	return !k.Status.Alive() && !k.Status.Prepared && k.Status.Mounted == ""
}

func (c *Checker) rootfsByID(ctx context.Context) (map[string]img.Rootfs, error) {
	all, err := c.o.Images.RootfsContainers(ctx)
	out := make(map[string]img.Rootfs, len(all))
	for _, r := range all {
		out[r.ID] = r
	}
	return out, err
}

// cgroups finds cgroups below davit's parent of pods and containers that are not
// there.
func (c *Checker) cgroups(context.Context) ([]suspect, error) {
	if c.o.Cgroups == nil || c.o.CgroupParent == "" {
		return nil, nil
	}
	var out []suspect
	add := func(path, noun, id string) {
		out = append(out, suspect{record.Finding{
			Kind: "cgroup", Object: path, Problem: fmt.Sprintf("there is no %s %q", noun, id), Repair: "end what is in it, and remove it",
			Mend: func(ctx context.Context) error { return c.removeCgroup(ctx, path, id) },
		}, func() bool { return c.there(path) && !c.known(id) }})
	}
	for _, id := range c.o.Cgroups.Children(c.o.CgroupParent) {
		path := filepath.Join(c.o.CgroupParent, id)
		switch {
		case id == cgroup.Monitors:
		case !c.known(id):
			add(path, "pod", id)
		default:
			for _, child := range c.o.Cgroups.Children(path) {
				if !c.known(child) {
					add(filepath.Join(path, child), "container", child)
				}
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
