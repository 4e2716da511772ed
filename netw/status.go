package netw

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/davit-containers/davit/netw/plugin"
)

// HostDefault is the network that CRI uses: the first one of ConfDir, by file
// name. ErrUnavailable while there is none, as on a node that just joined; files
// that cannot be used are named in that error.
func (a *Attacher) HostDefault(ctx context.Context) (Network, error) {
	if err := ctx.Err(); err != nil {
		return Network{}, err
	}
	hosts, err := a.hostNetworks()
	if len(hosts) > 0 {
		return hosts[0].Network, nil
	}
	if err != nil {
		return Network{}, fmt.Errorf("no usable network in %s: %w: %w", a.config.ConfDir, err, errdefs.ErrUnavailable)
	}
	return Network{}, fmt.Errorf("no network in %s: %w", a.config.ConfDir, errdefs.ErrUnavailable)
}

// Status says whether a sandbox could join the network now: its configuration is
// usable, its plugins, if it needs any, are there, and, from CNI 1.1 on, they say
// that they are ready. An empty name means HostDefault.
func (a *Attacher) Status(ctx context.Context, name string) error {
	if name == "" {
		n, err := a.HostDefault(ctx)
		if err != nil {
			return err
		}
		name = n.Name
	}
	n, err := a.find(name)
	if err != nil || n.managed() {
		return err
	}
	list, err := libcni.NetworkConfFromBytes(n.conflist)
	if err != nil {
		return fmt.Errorf("network %q: %w", name, err)
	}
	if err := pluginsThere(list, a.config.PluginDirs); err != nil {
		return fmt.Errorf("network %q: %w", name, err)
	}
	if err := a.cni.GetStatusNetworkList(ctx, list); err != nil {
		return fmt.Errorf("network %q is not ready: %w", name, err)
	}
	return nil
}

// pluginsThere reports the plugins of a list, and their address management,
// that are not installed.
func pluginsThere(list *libcni.NetworkConfigList, dirs []string) error {
	find := &plugin.Exec{}
	var errs []error
	for _, p := range list.Plugins {
		for _, t := range []string{p.Network.Type, p.Network.IPAM.Type} {
			if t == "" {
				continue
			}
			if _, err := find.FindInPath(t, dirs); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func gcAttachment(in *intent, j join) types.GCAttachment {
	return types.GCAttachment{ContainerID: in.ID, IfName: j.IfName}
}
