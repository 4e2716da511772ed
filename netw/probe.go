package netw

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/davit-containers/davit/netw/plugin"
)

// Probed is what networks need of the host, and what there is of it.
type Probed struct {
	Plugins []ProbedPlugin // by type
	// Host is how many networks ConfDir has; Broken says what is wrong there.
	Host   int
	Broken error
	// Firewall is why the kernel's nftables cannot be used; nil if they can.
	Firewall error
}

// ProbedPlugin is a plugin that a network needs.
type ProbedPlugin struct {
	Type     string
	Networks []string
	// Path is empty where it is not installed. Versions of CNI are what it says
	// of itself; Err is why it says nothing.
	Path     string
	Versions []string
	Err      error
}

// Probe looks for all plugins that a network of ConfDir or a user-made one needs,
// and runs each of them once, for its versions; bridges of davit's own need none. It
// changes nothing.
func Probe(ctx context.Context, a *Attacher) Probed {
	hosts, err := a.hostNetworks()
	p := Probed{Host: len(hosts), Broken: err}
	needs := map[string][]string{}
	need := func(kind, network string) {
		if kind != "" && !slices.Contains(needs[kind], network) {
			needs[kind] = append(needs[kind], network)
		}
	}
	nets, err := a.ownNetworks()
	p.Broken = errors.Join(p.Broken, err)
	for _, n := range nets {
		if n.managed() {
			continue
		}
		if f, err := a.readUser(n.Name); err == nil {
			hosts = append(hosts, f)
		}
	}
	for _, n := range hosts {
		list, err := libcni.NetworkConfFromBytes(n.conflist)
		if err != nil {
			p.Broken = errors.Join(p.Broken, err)
			continue
		}
		for _, c := range list.Plugins {
			need(c.Network.Type, n.Name)
			need(c.Network.IPAM.Type, n.Name)
		}
	}
	for kind, networks := range needs {
		p.Plugins = append(p.Plugins, probePlugin(ctx, a, ProbedPlugin{Type: kind, Networks: networks}))
	}
	slices.SortFunc(p.Plugins, func(x, y ProbedPlugin) int { return strings.Compare(x.Type, y.Type) })
	_, p.Firewall = a.table.Elements()
	return p
}

func probePlugin(ctx context.Context, a *Attacher, p ProbedPlugin) ProbedPlugin {
	path, err := (&plugin.Exec{}).FindInPath(p.Type, a.config.PluginDirs)
	if err != nil {
		return p
	}
	p.Path = path
	info, err := a.cni.GetVersionInfo(ctx, p.Type)
	if err != nil {
		p.Err = err
		return p
	}
	p.Versions = info.SupportedVersions()
	return p
}
