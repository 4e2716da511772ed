package pod

import (
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// fit holds what one of the kubelet's containers asks for against its sandbox,
// and gives it the sandbox's user namespace. ErrInvalidArgument for what the
// sandbox was not made for.
func fit(s Config, cfg ctr.Config) (ctr.Config, error) {
	n, own := s.Namespaces, &cfg.Namespaces
	refuse := func(what string) (ctr.Config, error) {
		return cfg, fmt.Errorf("container %q cannot %s: its sandbox is not made for it: %w", cfg.Kube.Name, what, errdefs.ErrInvalidArgument)
	}
	switch {
	case cfg.Security.Privileged && !s.Privileged:
		return refuse("be privileged")
	case own.Network.Mode == spec.ModeHost && s.Network.Mode != NetworkHost:
		return refuse("have the host's network")
	case own.IPC.Mode == spec.ModeHost && n.IPC != spec.ModeHost:
		return refuse("have the host's IPC namespace")
	case own.User.Mode == spec.ModeHost && len(n.UIDMappings) > 0:
		return refuse("have the host's user namespace")
	case len(own.UIDMappings) > 0 && !(slices.Equal(own.UIDMappings, n.UIDMappings) && slices.Equal(own.GIDMappings, n.GIDMappings)):
		return refuse("have a user namespace with these mappings")
	}
	own.User = spec.Namespace{}
	own.UIDMappings, own.GIDMappings = n.UIDMappings, n.GIDMappings
	return cfg, nil
}
