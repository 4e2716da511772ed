package cgroup

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
)

// Driver says who makes the containers' cgroups; its zero value is cgroupfs: the
// runtime does, at the path that it is told.
type Driver struct {
	// Systemd has the runtime ask systemd for a scope for each container.
	Systemd bool
	// Parent is the cgroup of all of davit's own pods, as "/davit"; the monitors'
	// is below it with either driver.
	Parent string
}

// Place is where a pod's containers have their cgroups.
type Place struct {
	// Path is the cgroup that the pod has for itself, "" if it has none.
	Path string
	// Parent is what [Driver.Container] takes: a path, or the name of a slice.
	Parent string
	// Own says that the pod's maker makes, limits and removes Path. Else that is
	// done by who gave the pod its parent.
	Own bool
}

// Pod is the place of a pod below the parent that was asked for; where none was,
// below the driver's own.
//
// With cgroupfs a parent is a path, and the pod has a cgroup of its own below it.
// With systemd it is a slice, written as its name or as its path below the root,
// of which the last part counts. It is made for the pod alone by who asks, as
// kubelets do, and so is the pod's cgroup. Pods for which nobody asked share a
// slice, which systemd makes with its first scope: they have no cgroup of their
// own, as nobody would tell systemd when to stop a slice of each.
//
// A parent of the other driver's kind is ErrInvalidArgument.
func (d Driver) Pod(asked, id string) (Place, error) {
	slice := strings.HasSuffix(asked, ".slice")
	switch {
	case !d.Systemd && slice:
		return Place{}, fmt.Errorf("cgroup parent %q is a slice of systemd's, and cgroup_manager is cgroupfs: %w", asked, errdefs.ErrInvalidArgument)
	case !d.Systemd:
		parent := asked
		if parent == "" {
			parent = d.Parent
		}
		path := filepath.Join("/", parent, id)
		return Place{Path: path, Parent: path, Own: true}, nil
	case asked == "":
		return Place{Parent: strings.Trim(d.Parent, "/") + ".slice"}, nil
	case !slice:
		return Place{}, fmt.Errorf("cgroup parent %q is not a slice, and cgroup_manager is systemd: %w", asked, errdefs.ErrInvalidArgument)
	}
	name := filepath.Base(asked)
	path, err := SlicePath(name)
	if err != nil {
		return Place{}, fmt.Errorf("cgroup parent: %w", err)
	}
	return Place{Path: path, Parent: name}, nil
}

// scopePrefix begins the names of the containers' scopes.
const scopePrefix = "davit"

// Container is the cgroup of a container below the parent of its pod's [Place]:
// the runtime spec's cgroupsPath, and the cgroup that comes of it. A parent that
// the other driver gave is ErrFailedPrecondition.
func (d Driver) Container(parent, id string) (cgroupsPath, path string, err error) {
	if d.Systemd == filepath.IsAbs(parent) {
		return "", "", fmt.Errorf("the pod's cgroup parent %q was made with another cgroup_manager; start the pod again: %w",
			parent, errdefs.ErrFailedPrecondition)
	}
	if !d.Systemd {
		path = filepath.Join(parent, id)
		return path, path, nil
	}
	cgroupsPath = Scope(parent, scopePrefix, id)
	path, err = ScopePath(cgroupsPath)
	return cgroupsPath, path, err
}

// ContainerOf is the ID of the container whose cgroup has this name; false for a
// name that is no container's.
func (d Driver) ContainerOf(name string) (id string, ok bool) {
	id = name
	if d.Systemd {
		scope, isScope := strings.CutSuffix(name, ".scope")
		if id, ok = strings.CutPrefix(scope, scopePrefix+"-"); !ok || !isScope {
			return "", false
		}
	}
	return id, len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
}
