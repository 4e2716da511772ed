package netw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/davit-containers/davit/netw/plugin"
)

// network is a network with the configuration that plugins get, where they join it.
type network struct {
	Network
	conflist     json.RawMessage
	capabilities map[string]bool
}

// capable reports whether a plugin that joins the network declares a capability.
func (n network) capable(name string) bool { return !n.managed() && n.capabilities[name] }

// accepts refuses static values that no plugin of the network would honour.
func (n network) accepts(ref Ref) error {
	for _, ip := range ref.IPs {
		inside := slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Subnet.Contains(ip) })
		if n.Origin != OriginHost && !inside {
			return fmt.Errorf("address %s is not in a subnet of network %q: %w", ip, n.Name, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// capabilityArgs are the runtime values for the network's plugins; libcni passes
// on those that a plugin declares.
func (n network) capabilityArgs(r Request, ref Ref) map[string]any {
	caps := make(map[string]any, len(r.Capabilities)+2)
	for k, v := range r.Capabilities {
		caps[k] = v
	}
	if ref.MAC != "" {
		caps["mac"] = ref.MAC
	}
	if len(ref.IPs) > 0 {
		var ips []string
		for _, ip := range ref.IPs {
			bits := ip.BitLen()
			for _, s := range n.Subnets {
				if s.Subnet.Contains(ip) {
					bits = s.Subnet.Bits()
				}
			}
			ips = append(ips, netip.PrefixFrom(ip, bits).String())
		}
		caps["ips"] = ips
	}
	return caps
}

// explain adds what a person needs to a plugin's error.
func (n network) explain(err error) error {
	if errors.Is(err, errdefs.ErrResourceExhausted) && len(n.Subnets) > 0 {
		return fmt.Errorf("no free address in %s: %w", joinStrings(n.prefixes()), err)
	}
	return err
}

func joinStrings[T fmt.Stringer](vs []T) string {
	var s []string
	for _, v := range vs {
		s = append(s, v.String())
	}
	return strings.Join(s, ", ")
}

// option reads a numeric option; 0 if it is not set.
func (n Network) option(name string, limit int) (int, error) {
	v, ok := n.Options[name]
	if !ok || v == "" {
		return 0, nil
	}
	i, err := strconv.Atoi(v)
	if err != nil || i < 0 || i > limit {
		return 0, fmt.Errorf("network option %s=%q is not a number up to %d: %w", name, v, limit, errdefs.ErrInvalidArgument)
	}
	return i, nil
}

// find looks a network up by name: built-in, user-made, then the host's.
func (c *catalog) find(name string) (network, error) {
	if err := CheckName(name); err != nil {
		return network{}, err
	}
	if name == Builtin {
		n, err := c.chooseBuiltin()
		return network{Network: n}, err
	}
	n, err := c.readUser(name)
	if !errors.Is(err, errdefs.ErrNotFound) {
		return n, err
	}
	return c.findHost(name)
}

// findHost looks up one of the host's networks.
func (c *catalog) findHost(name string) (network, error) {
	hosts, err := c.hostNetworks()
	for _, h := range hosts {
		if h.Name == name {
			return h, nil
		}
	}
	if err != nil {
		return network{}, fmt.Errorf("network %q: %w: %w", name, err, errdefs.ErrNotFound)
	}
	return network{}, fmt.Errorf("network %q: %w", name, errdefs.ErrNotFound)
}

// userFile is the path of a user-made network's configuration.
func (p place) userFile(name string) string {
	return filepath.Join(p.root, "networks", name+".conflist")
}

// readUser reads a user-made network.
func (c *catalog) readUser(name string) (network, error) {
	path := c.userFile(name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return network{}, fmt.Errorf("network %q: %w", name, errdefs.ErrNotFound)
	}
	if err != nil {
		return network{}, fmt.Errorf("reading network %q: %w", name, err)
	}
	n, err := parseConflist(b)
	if err != nil {
		return network{}, fmt.Errorf("reading network %q from %s: %w", name, path, err)
	}
	var kept struct{ Davit *Network }
	if err := json.Unmarshal(b, &kept); err != nil {
		return network{}, fmt.Errorf("reading network %q from %s: %w", name, path, err)
	}
	if kept.Davit != nil {
		n.Network = *kept.Davit
	}
	if n.Name != name {
		return network{}, fmt.Errorf("reading network %q from %s: the file is of network %q: %w", name, path, n.Name, errdefs.ErrInvalidArgument)
	}
	n.Origin, n.File = OriginUser, path
	return n, nil
}

// userNetworks reads all user-made networks; unreadable ones are reported and do
// not hide the others.
func (c *catalog) userNetworks() ([]network, error) {
	entries, err := os.ReadDir(filepath.Join(c.config.Root, "networks"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing networks: %w", err)
	}
	var all []network
	var errs []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".conflist")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		n, err := c.readUser(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, n)
	}
	return all, errors.Join(errs...)
}

// ownNetworks are the networks of davit's own that exist so far.
func (c *catalog) ownNetworks() ([]Network, error) {
	var own []Network
	n, err := c.builtin()
	switch {
	case err == nil:
		own = append(own, n)
	case !errors.Is(err, errdefs.ErrNotFound):
		return nil, err
	}
	users, err := c.userNetworks()
	if err != nil {
		c.log.Warn("some networks are unreadable", "error", err)
	}
	for _, u := range users {
		own = append(own, u.Network)
	}
	return own, nil
}

// hostNetworks reads ConfDir in the order of file names, as libcni's users do.
// Files that cannot be used are reported and do not hide the others.
func (c *catalog) hostNetworks() ([]network, error) {
	if c.config.ConfDir == "" {
		return nil, nil
	}
	files, err := libcni.ConfFiles(c.config.ConfDir, []string{".conflist", ".conf", ".json"})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", c.config.ConfDir, err)
	}
	slices.Sort(files)
	var all []network
	var errs []error
	for _, file := range files {
		n, err := readHost(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("network configuration %s: %w", file, err))
			continue
		}
		all = append(all, n)
	}
	return all, errors.Join(errs...)
}

// readHost reads a configuration list, or a single plugin's configuration, which
// is made a list of one.
func readHost(file string) (network, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return network{}, err
	}
	if filepath.Ext(file) == ".conflist" {
		list, err := libcni.NetworkConfFromFile(file)
		if err != nil {
			return network{}, err
		}
		if b, err = inlined(list); err != nil {
			return network{}, err
		}
	} else {
		conf, err := libcni.NetworkPluginConfFromBytes(b)
		if err != nil {
			return network{}, err
		}
		list := map[string]any{"name": conf.Network.Name, "cniVersion": conf.Network.CNIVersion, "plugins": []json.RawMessage{b}}
		if b, err = json.Marshal(list); err != nil {
			return network{}, err
		}
	}
	n, err := parseConflist(b)
	n.Origin, n.File = OriginHost, file
	return n, err
}

// inlined gives a list whose plugins come from files of their own (see CNI 1.1,
// loadOnlyInlinedPlugins) as one document, so that it can be kept for DEL.
func inlined(list *libcni.NetworkConfigList) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(list.Bytes, &doc); err != nil {
		return nil, err
	}
	var plugins []json.RawMessage
	for _, p := range list.Plugins {
		plugins = append(plugins, p.Bytes)
	}
	doc["plugins"], doc["cniVersion"], doc["loadOnlyInlinedPlugins"] = plugins, list.CNIVersion, true
	return json.Marshal(doc)
}

// parseConflist checks a configuration list and finds what davit needs of it.
func parseConflist(b []byte) (network, error) {
	list, err := libcni.NetworkConfFromBytes(b)
	if err != nil {
		return network{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if len(list.Plugins) == 0 {
		return network{}, fmt.Errorf("no plugins: %w", errdefs.ErrInvalidArgument)
	}
	n := network{Network: Network{Name: list.Name}, conflist: b, capabilities: make(map[string]bool)}
	if err := CheckName(list.Name); err != nil {
		return network{}, err
	}
	for _, p := range list.Plugins {
		types := []string{p.Network.Type}
		if p.Network.IPAM.Type != "" {
			types = append(types, p.Network.IPAM.Type)
		}
		for _, t := range types {
			if err := plugin.CheckType(t); err != nil {
				return network{}, err
			}
		}
		for c, on := range p.Network.Capabilities {
			n.capabilities[c] = n.capabilities[c] || on
		}
	}
	n.Driver = list.Plugins[0].Network.Type
	n.describe(list.Plugins[0].Bytes)
	return n, nil
}

// describe takes interface and subnets from the first plugin's configuration,
// as far as they are written the way the reference plugins have it.
func (n *network) describe(conf []byte) {
	var c struct {
		Bridge, Master string
		IPAM           struct {
			Subnet  netip.Prefix
			Gateway netip.Addr
			Ranges  [][]struct {
				Subnet  netip.Prefix
				Gateway netip.Addr
			}
		}
	}
	if json.Unmarshal(conf, &c) != nil {
		return
	}
	if n.Interface = c.Bridge; n.Interface == "" {
		n.Interface = c.Master
	}
	if c.IPAM.Subnet.IsValid() {
		n.Subnets = append(n.Subnets, Subnet{Subnet: c.IPAM.Subnet, Gateway: c.IPAM.Gateway})
	}
	for _, set := range c.IPAM.Ranges {
		for _, r := range set {
			n.Subnets = append(n.Subnets, Subnet{Subnet: r.Subnet, Gateway: r.Gateway})
		}
	}
}

// Networks lists all networks: the built-in one, the user-made, then the
// host's. What is unreadable is reported in the error, beside the others. The
// built-in network's subnets are empty before its first use.
func (a *Attacher) Networks(ctx context.Context) ([]Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := []Network{a.describeBuiltin()}
	users, err := a.userNetworks()
	hosts, herr := a.hostNetworks()
	for _, n := range append(users, hosts...) {
		if !slices.ContainsFunc(all, func(o Network) bool { return o.Name == n.Name }) {
			all = append(all, n.Network)
		}
	}
	return all, errors.Join(err, herr)
}

// Network describes one network; ErrNotFound if there is none.
func (a *Attacher) Network(ctx context.Context, name string) (Network, error) {
	if err := ctx.Err(); err != nil {
		return Network{}, err
	}
	if name == Builtin {
		return a.describeBuiltin(), nil
	}
	n, err := a.find(name)
	return n.Network, err
}

// describeBuiltin is the built-in network without choosing anything.
func (c *catalog) describeBuiltin() Network {
	n, err := c.builtin()
	if err != nil {
		n = Network{Name: Builtin, Driver: DriverBridge, Origin: OriginBuiltin, Interface: c.config.bridgeName()}
		for _, s := range []string{c.config.Subnet, c.config.Subnet6} {
			if p, err := netip.ParsePrefix(s); err == nil {
				n.Subnets = append(n.Subnets, Subnet{Subnet: p})
			}
		}
	}
	return n
}
