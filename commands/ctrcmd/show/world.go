package show

import (
	"context"
	"time"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// World is all containers and pods as they were at one moment.
type World struct {
	Containers []ctr.Container
	Pods       []pod.Sandbox
	Now        time.Time

	pods map[string]pod.Sandbox
}

// Read lists containers and pods. Records that cannot be read are warned of and
// left out.
func Read(ctx context.Context, env *cli.Env) (World, error) {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return World{}, err
	}
	ctrs, err := e.Containers.List(ctx)
	if err != nil {
		env.Log().Warn("some container records cannot be read", "error", err)
	}
	pods, err := e.Pods.List(ctx)
	if err != nil {
		env.Log().Warn("some pod records cannot be read", "error", err)
	}
	return NewWorld(ctrs, pods, env.Now()), nil
}

// NewWorld is a World of these containers and pods.
func NewWorld(ctrs []ctr.Container, pods []pod.Sandbox, now time.Time) World {
	w := World{Containers: ctrs, Pods: pods, Now: now, pods: make(map[string]pod.Sandbox, len(pods))}
	for _, s := range pods {
		w.pods[s.ID] = s
	}
	return w
}

// Pod is the sandbox of a container; the zero value if it is gone.
func (w World) Pod(c ctr.Container) pod.Sandbox { return w.pods[c.Config.Sandbox] }

// Members are the containers of a pod, oldest first.
func (w World) Members(s pod.Sandbox) []ctr.Container {
	var out []ctr.Container
	for _, c := range w.Containers {
		if c.Config.Sandbox == s.ID {
			out = append(out, c)
		}
	}
	return out
}

// Ports are the published ports of a sandbox: as they are attached, else as they
// were asked for.
func Ports(s pod.Sandbox) []netw.Port {
	if len(s.Status.Attachment.Ports) > 0 {
		return s.Status.Attachment.Ports
	}
	return s.Config.Network.Ports
}

// Networks are the names of the networks that a sandbox is, or is to be, on.
func Networks(s pod.Sandbox) []string {
	out := []string{}
	for _, i := range s.Status.Attachment.Interfaces {
		out = append(out, i.Network)
	}
	if len(out) > 0 {
		return out
	}
	switch s.Config.Network.Mode {
	case pod.NetworkCNI:
		for _, ref := range s.Config.Network.Networks {
			out = append(out, ref.Name)
		}
	default:
		out = append(out, string(s.Config.Network.Mode))
	}
	return out
}

// Mark is what stands behind the name of an object that the kubelet owns.
func Mark(owner record.Owner) string {
	if owner == record.OwnerCRI {
		return " (kubelet)"
	}
	return ""
}
