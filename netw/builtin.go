package netw

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw/bridge"
	"github.com/davit-containers/davit/netw/nft"
)

// builtinFile keeps what was chosen for the built-in network, below the
// networks' run folder.
const builtinFile = "davit.json"

// builtin returns the built-in network as it was chosen; ErrNotFound before the
// first attachment after a boot.
func (c *catalog) builtin() (Network, error) {
	b, err := os.ReadFile(c.dir(builtinFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Network{}, fmt.Errorf("network %q is not set up yet: %w", Builtin, errdefs.ErrNotFound)
	}
	if err != nil {
		return Network{}, fmt.Errorf("reading network %q: %w", Builtin, err)
	}
	var n Network
	if err := json.Unmarshal(b, &n); err != nil {
		return Network{}, fmt.Errorf("reading network %q: %w", Builtin, err)
	}
	return n, nil
}

// chooseBuiltin returns the built-in network, choosing its subnets if that was
// not done yet. The choice holds until Teardown, a reboot, or another
// configuration when no sandbox is attached.
func (c *catalog) chooseBuiltin() (Network, error) {
	n, err := c.builtin()
	if err == nil && c.config.allows(n) {
		return n, nil
	}
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return n, err
	}
	err = c.locked(func() error {
		n, err = c.builtin()
		switch {
		case err == nil && c.config.allows(n):
			return nil
		case err == nil && c.attached():
			c.log.Warn("network keeps its addresses while sandboxes are attached, whatever the configuration says now", "network", Builtin)
			return nil
		case err == nil || errors.Is(err, errdefs.ErrNotFound):
		default:
			return err
		}
		// a bridge of our name is left from another choice
		for _, name := range []string{n.Interface, c.config.bridgeName()} {
			if name != "" && !c.attached() {
				if err := bridge.Remove(name); err != nil {
					return err
				}
			}
		}
		if err := os.Remove(c.dir(builtinFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if n, err = c.planBuiltin(); err != nil {
			return err
		}
		b, err := json.Marshal(n)
		if err != nil {
			return err
		}
		return record.WriteAtomic(c.dir(builtinFile), b, record.WriteOptions{})
	})
	if err != nil {
		return Network{}, fmt.Errorf("choosing network %q: %w", Builtin, err)
	}
	return n, nil
}

// attached reports whether any attachment is known.
func (p place) attached() bool {
	entries, err := os.ReadDir(p.dir("attached"))
	return err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) > 0
}

// allows reports whether the built-in network, as it was chosen, is what the
// configuration asks for.
func (c Config) allows(n Network) bool {
	if n.Interface != c.bridgeName() {
		return false
	}
	for _, want := range []string{c.Subnet, c.Subnet6} {
		p, err := netip.ParsePrefix(want)
		if err == nil && !slices.Contains(n.prefixes(), p.Masked()) {
			return false
		}
	}
	return c.Subnet6 != "none" || !n.has6()
}

// planBuiltin decides on bridge and subnets of the built-in network. A subnet
// from the configuration is taken as it is.
func (c *catalog) planBuiltin() (Network, error) {
	n := Network{Name: Builtin, Driver: DriverBridge, Origin: OriginBuiltin, Interface: c.config.bridgeName()}
	used, err := c.usedSubnets()
	if err != nil {
		return n, err
	}
	subnet, err := netip.ParsePrefix(c.config.Subnet)
	if err != nil {
		if subnet, err = bridge.Free(c.candidates4(16), used); err != nil {
			return n, err
		}
	}
	n.Subnets = []Subnet{{Subnet: subnet.Masked(), Gateway: bridge.Gateway(subnet)}}
	if c.config.Subnet6 == "none" || c.config.Subnet6 == "" && !bridge.HasIPv6() {
		return n, nil
	}
	subnet6, err := netip.ParsePrefix(c.config.Subnet6)
	if err != nil {
		if subnet6, err = bridge.Free(c.candidates6(Builtin), used); err != nil {
			return n, err
		}
	}
	n.IPv6 = true
	n.Subnets = append(n.Subnets, Subnet{Subnet: subnet6.Masked(), Gateway: bridge.Gateway(subnet6)})
	return n, nil
}

// usedSubnets are the ranges that are taken: the host's, the built-in
// network's, and those of user-made networks, whether they are up or not.
func (c *catalog) usedSubnets() ([]netip.Prefix, error) {
	used, err := bridge.Used()
	if err != nil {
		return nil, err
	}
	ours, err := c.ownNetworks()
	if err != nil {
		return nil, err
	}
	for _, n := range ours {
		used = append(used, n.prefixes()...)
	}
	return used, nil
}

// candidates4 are private IPv4 subnets to choose from. The host's davit begins
// with 10.87.0.0/16, just below what podman uses; a davit of other roots begins
// at a place that its run root decides, so that two that start at the same time
// do not choose the same.
func (c *catalog) candidates4(bits int) func(yield func(netip.Prefix) bool) {
	start := 0
	if !c.config.DefaultRoots {
		sum := sha256.Sum256([]byte(c.config.RunRoot))
		start = int(sum[0])<<8 + int(sum[1])
		bits = 24
	}
	count := 1 << (bits - 8)
	base := 87 << (bits - 16)
	return func(yield func(netip.Prefix) bool) {
		for i := range count {
			k := uint32((base+start+i)%count) << (32 - bits)
			addr := netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)})
			if !yield(netip.PrefixFrom(addr, bits)) {
				return
			}
		}
	}
}

// candidates6 are unique local subnets (RFC 4193) that the run root and the
// network's name decide.
func (c *catalog) candidates6(name string) func(yield func(netip.Prefix) bool) {
	return func(yield func(netip.Prefix) bool) {
		for i := range 64 {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", c.config.RunRoot, name, i))
			var b [16]byte
			b[0] = 0xfd
			copy(b[1:8], sum[:7])
			if !yield(netip.PrefixFrom(netip.AddrFrom16(b), 64)) {
				return
			}
		}
	}
}

// ensureBridge sets the bridge of n up, or mends it, if it is davit's to do so.
// What is there already is only looked at.
func ensureBridge(n Network) error {
	if !n.managed() {
		return nil
	}
	if err := bridge.Ensure(n.bridgeConfig()); err != nil {
		return fmt.Errorf("network %q: %w", n.Name, err)
	}
	return nil
}

// ensureTable makes sure that the firewall table stands and knows all of nets.
func (f *firewall) ensureTable(nets []Network) error {
	known := make([]nft.Network, 0, len(nets))
	for _, n := range nets {
		known = append(known, n.tableEntry())
	}
	ok, err := f.table.Holds(known)
	if err != nil || ok {
		return err
	}
	return f.locked(func() error {
		// another process may have mended it meanwhile
		if ok, err := f.table.Holds(known); err != nil || ok {
			return err
		}
		f.log.Info("setting up the firewall table", "table", f.table.Name())
		return f.replaceTable()
	})
}

// replaceTable makes the nft table anew from what is on record. The caller
// holds the lock.
func (f *firewall) replaceTable() error {
	nets, err := f.nets.ownNetworks()
	if err != nil {
		return err
	}
	var known []nft.Network
	for _, n := range nets {
		if n.managed() {
			known = append(known, n.tableEntry())
		}
	}
	return f.table.Replace(known, f.publishedPorts())
}

// publishedPorts are the ports that are published by what is on record.
func (f *firewall) publishedPorts() []nft.Element {
	all, err := f.known.intents()
	if err != nil {
		f.log.Warn("some attachments are unreadable, their ports stay closed", "error", err)
	}
	var ports []nft.Element
	for _, in := range all {
		for _, e := range in.published() {
			if slices.ContainsFunc(ports, e.Clashes) {
				f.log.Warn("port is on record twice", "port", e.HostPort, "sandbox", e.Owner)
				continue
			}
			ports = append(ports, e)
		}
	}
	return ports
}

// bridgeConfig is the host's side of n.
func (n Network) bridgeConfig() bridge.Config {
	c := bridge.Config{Name: n.Interface, Isolated: n.Internal}
	c.MTU, _ = n.option("mtu", 0xffff)
	c.VLAN, _ = n.option("vlan", 4094)
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			c.Addresses = append(c.Addresses, netip.PrefixFrom(s.Gateway, s.Subnet.Bits()))
		}
	}
	return c
}

// tableEntry is what the nft table knows of n; nothing for networks that are not
// davit's own bridges.
func (n Network) tableEntry() nft.Network {
	if !n.managed() {
		return nft.Network{}
	}
	return nft.Network{Bridge: n.Interface, Subnets: n.prefixes(), Internal: n.Internal}
}

// published are the elements that the table is to have.
func (in *intent) published() []nft.Element {
	if in.Withdrawn {
		return nil
	}
	return in.elements()
}

// elements are the ports of a complete attachment, published or withdrawn.
func (in *intent) elements() []nft.Element {
	if !in.TablePorts || in.Result == nil || len(in.Result.Interfaces) == 0 {
		return nil
	}
	own := firstOfFamily(addresses(in.Result.Interfaces[0].IPs))
	var out []nft.Element
	for _, p := range in.Ports {
		for _, to := range own {
			if !p.wants(to) {
				continue
			}
			e := nft.Element{Owner: in.ID, Protocol: p.Protocol, HostPort: p.HostPort, To: netip.AddrPortFrom(to, p.ContainerPort)}
			if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() {
				e.HostIP = p.HostIP
			}
			out = append(out, e)
		}
	}
	return out
}
