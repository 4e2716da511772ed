package netw

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// Origin says where a network comes from.
type Origin string

// The origins of networks.
const (
	// OriginBuiltin is the network that every davit has.
	OriginBuiltin Origin = "builtin"
	// OriginUser is a network made by Create.
	OriginUser Origin = "user"
	// OriginHost is a network of ConfDir; davit does not change it.
	OriginHost Origin = "host"
)

// Drivers of user-made networks.
const (
	DriverBridge  = "bridge"
	DriverMacvlan = "macvlan"
)

// Builtin is the name of the built-in network.
const Builtin = "davit"

// Network describes a network.
type Network struct {
	// Name is unique over all origins; the built-in network's and the user's
	// hide a host's network of the same name.
	Name string `json:"name"`
	// Driver is bridge, macvlan, or the type of a host network's first plugin.
	Driver string `json:"driver"`
	Origin Origin `json:"origin,omitempty"`
	// Interface is the bridge, or the parent of a macvlan network.
	Interface string   `json:"interface,omitempty"`
	Subnets   []Subnet `json:"subnets,omitempty"`
	// Internal networks have no way out of the host.
	Internal bool `json:"internal,omitempty"`
	// IPv6 asks Create for an IPv6 subnet too.
	IPv6 bool `json:"ipv6,omitempty"`
	// DNSDisabled keeps Peers of this network empty.
	DNSDisabled bool              `json:"dnsDisabled,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	// Options: mtu and vlan for bridge; mtu and mode for macvlan.
	Options map[string]string `json:"options,omitempty"`
	Created time.Time         `json:"created,omitzero"`
	// File is the configuration's path; empty for the built-in network.
	File string `json:"file,omitempty"`
}

// Subnet is an address range of a network.
type Subnet struct {
	Subnet netip.Prefix `json:"subnet"`
	// Gateway is the host's address in it; Create chooses the first one.
	Gateway netip.Addr `json:"gateway,omitzero"`
	// First and Last bound the addresses that are given out; invalid means all.
	First netip.Addr `json:"first,omitzero"`
	Last  netip.Addr `json:"last,omitzero"`
}

// managed reports whether davit itself sets up the network's bridge.
func (n Network) managed() bool {
	return n.Driver == DriverBridge && n.Origin != OriginHost && n.Interface != ""
}

// prefixes are the network's subnets.
func (n Network) prefixes() []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range n.Subnets {
		ps = append(ps, s.Subnet)
	}
	return ps
}

// has6 reports whether the network has IPv6 addresses.
func (n Network) has6() bool {
	return slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Subnet.Addr().Is6() })
}

// Types of configuration lists, as CNI's specification and the reference
// plugins' documentation define them. Only what davit writes is here.
type (
	confList struct {
		CNIVersion string   `json:"cniVersion"`
		Name       string   `json:"name"`
		Davit      *Network `json:"davit,omitempty"`
		Plugins    []any    `json:"plugins"`
	}
	bridgeConf struct {
		Type         string          `json:"type"`
		Bridge       string          `json:"bridge"`
		IsGateway    bool            `json:"isGateway"`
		IPMasq       bool            `json:"ipMasq"`
		HairpinMode  bool            `json:"hairpinMode"`
		MTU          int             `json:"mtu,omitempty"`
		VLAN         int             `json:"vlan,omitempty"`
		Capabilities map[string]bool `json:"capabilities,omitempty"`
		IPAM         ipamConf        `json:"ipam"`
	}
	macvlanConf struct {
		Type         string          `json:"type"`
		Master       string          `json:"master"`
		Mode         string          `json:"mode,omitempty"`
		MTU          int             `json:"mtu,omitempty"`
		Capabilities map[string]bool `json:"capabilities,omitempty"`
		IPAM         ipamConf        `json:"ipam"`
	}
	ipamConf struct {
		Type    string        `json:"type"`
		DataDir string        `json:"dataDir,omitempty"`
		Ranges  [][]ipamRange `json:"ranges,omitempty"`
		Routes  []ipamRoute   `json:"routes,omitempty"`
	}
	ipamRange struct {
		Subnet     netip.Prefix `json:"subnet"`
		RangeStart netip.Addr   `json:"rangeStart,omitzero"`
		RangeEnd   netip.Addr   `json:"rangeEnd,omitzero"`
		Gateway    netip.Addr   `json:"gateway,omitzero"`
	}
	ipamRoute struct {
		Dst string `json:"dst"`
	}
)

// cniVersion is the newest version that the distribution's plugins (1.1.1) know.
const cniVersion = "1.0.0"

// conflist generates the configuration list of a network of davit's own.
// ipamDir is where host-local keeps its reservations.
func conflist(n Network, ipamDir string) ([]byte, error) {
	list := confList{CNIVersion: cniVersion, Name: n.Name}
	if n.Origin == OriginUser {
		kept := n
		kept.File = ""
		list.Davit = &kept
	}
	mtu, err := n.option("mtu", 0xffff)
	if err != nil {
		return nil, err
	}
	caps := map[string]bool{"ips": true, "mac": true}
	switch n.Driver {
	case DriverMacvlan:
		list.Plugins = append(list.Plugins, macvlanConf{
			Type: "macvlan", Master: n.Interface, Mode: n.Options["mode"], MTU: mtu, Capabilities: caps, IPAM: ipam(n, ipamDir),
		})
	default:
		vlan, err := n.option("vlan", 4094)
		if err != nil {
			return nil, err
		}
		list.Plugins = append(list.Plugins, bridgeConf{
			Type: "bridge", Bridge: n.Interface, HairpinMode: true, MTU: mtu, VLAN: vlan, Capabilities: caps, IPAM: ipam(n, ipamDir),
		})
	}
	return json.Marshal(list)
}

// ipam is the address management part: host-local with the network's ranges, or
// DHCP for a macvlan network without subnets. The bridge itself has its
// addresses from davit, so the bridge plugin's isGateway is not needed.
func ipam(n Network, dir string) ipamConf {
	if len(n.Subnets) == 0 {
		return ipamConf{Type: "dhcp"}
	}
	c := ipamConf{Type: "host-local", DataDir: dir}
	for _, s := range n.Subnets {
		c.Ranges = append(c.Ranges, []ipamRange{{Subnet: s.Subnet, RangeStart: s.First, RangeEnd: s.Last, Gateway: s.Gateway}})
		if n.Internal {
			continue
		}
		dst := "0.0.0.0/0"
		if s.Subnet.Addr().Is6() {
			dst = "::/0"
		}
		c.Routes = append(c.Routes, ipamRoute{Dst: dst})
	}
	return c
}
