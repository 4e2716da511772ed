//go:build faults || faultslong

package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// States, as the engine spells them. A sandbox that was never made ready is
// created, one that lost what it had is notready.
const (
	created  = "created"
	running  = "running"
	paused   = "paused"
	stopped  = "stopped"
	ready    = "ready"
	notReady = "notready"
	removing = "removing"
)

// Classes of errors; anyFailure stands for one of whatever class.
const (
	ok           = ""
	notFound     = "not found"
	taken        = "already exists"
	precondition = "failed precondition"
	program      = "program"
	denied       = "permission denied"
	anyFailure   = "any failure"
)

// world is all that there is, as far as the model knows. Containers and pods are
// known by their names, the kubelet's by their records' names.
type world struct {
	pods   map[string]*sandbox
	ctrs   map[string]*container
	images map[string]bool   // those that are there: one, two
	names  map[string]string // the image of each name
	// noAdd and noDel say that the network plugin refuses.
	noAdd, noDel bool
	// stuck are leases of sandboxes that are gone but for them.
	stuck int
	// typed says that operations are commands and calls, which say in places what
	// the engine leaves to who uses it.
	typed bool
}

// sandbox is a pod that somebody asked for.
type sandbox struct {
	kube  bool
	state string
	attached
}

// Networks: modelnet is one of the host's, with the plugin that may refuse; builtin is
// davit's own, which the real programs have.
const (
	modelnet = "modelnet"
	builtin  = "davit"
)

// attached is what a sandbox has of a network: net names it, "" is none.
type attached struct {
	net   string // attached to it when it is ready
	holds holding
}

// refuses says whether its network does not take back what it gave.
func (a attached) refuses(w *world) bool { return w.noDel && a.net == modelnet }

// back gives back what it holds, or says that it cannot be done.
func (a *attached) back(w *world) bool {
	if a.holds != nothing && a.refuses(w) {
		if a.holds == lease {
			a.holds = overdue
		}
		return false
	}
	a.holds = nothing
	return true
}

// holding is what a sandbox has of a network. A lease that could not be given back is
// overdue: that is on record, and done as soon as it can be. One that could not be
// attached, and not be detached either, owes that, and has no lease.
type holding int

const (
	nothing holding = iota
	lease
	overdue
	owes
)

func (h holding) due() bool { return h == overdue || h == owes }

func (h holding) leases() int {
	if h == lease || h == overdue {
		return 1
	}
	return 0
}

// container is one, with its implicit sandbox where pod is empty.
type container struct {
	kube, remove     bool
	pod, image, what string
	state            string
	code             int  // of a stopped one; unknown is one that nobody saw
	up               bool // its implicit sandbox is
	attached              // that sandbox
	pending          int  // the code of a signal that a paused one has not seen yet; -1 is none
	orphan           bool // its monitor was killed
}

const unknown = -1

func newWorld() *world {
	return &world{pods: map[string]*sandbox{}, ctrs: map[string]*container{}, images: map[string]bool{}, names: map[string]string{}}
}

func (w *world) clone() *world {
	c := *w
	c.pods, c.ctrs = map[string]*sandbox{}, map[string]*container{}
	for name, p := range w.pods {
		copied := *p
		c.pods[name] = &copied
	}
	for name, k := range w.ctrs {
		copied := *k
		c.ctrs[name] = &copied
	}
	c.images, c.names = maps.Clone(w.images), maps.Clone(w.names)
	return &c
}

func (k *container) alive() bool { return k.state == running || k.state == paused }

// in lists the names of a pod's containers.
func (w *world) in(pod string) []string {
	var out []string
	for name, k := range w.ctrs {
		if k.pod == pod {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// used tells whether a container has an image.
func (w *world) used(image string) bool {
	for _, k := range w.ctrs {
		if k.image == image {
			return true
		}
	}
	return false
}

// namesOf lists an image's names.
func (w *world) namesOf(image string) []string {
	var out []string
	for name, i := range w.names {
		if i == image {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// lines is the world as it is compared.
func (w *world) lines() []string {
	var out []string
	leases := w.stuck
	for name, p := range w.pods {
		out = append(out, podLine(name, p.state))
		leases += p.holds.leases()
	}
	for name, k := range w.ctrs {
		pod := k.pod
		if pod == "" {
			pod = "its own, down"
			if k.up {
				pod = "its own, up"
			}
		}
		out = append(out, containerLine(name, pod, k.image, k.state, k.code))
		leases += k.holds.leases()
	}
	for image := range w.images {
		out = append(out, imageLine(image, w.namesOf(image)))
	}
	out = append(out, leaseLine(leases))
	slices.Sort(out)
	return out
}

func podLine(name, state string) string { return fmt.Sprintf("pod %s is %s", name, state) }

func containerLine(name, pod, image, state string, code int) string {
	if state != stopped {
		return fmt.Sprintf("container %s (pod %s, image %s) is %s", name, pod, image, state)
	}
	how := fmt.Sprint("code ", code)
	if code == unknown {
		how = "code unknown"
	}
	return fmt.Sprintf("container %s (pod %s, image %s) is %s, %s", name, pod, image, state, how)
}

func imageLine(image string, names []string) string {
	return fmt.Sprintf("image %s is called %q", image, strings.Join(names, " "))
}

func leaseLine(n int) string { return fmt.Sprintf("%d addresses are out", n) }
