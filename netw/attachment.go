package netw

import (
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Attachment is what a sandbox got.
type Attachment struct {
	// Interfaces, in the order of the request's networks.
	Interfaces []Interface `json:"interfaces,omitempty"`
	// DNS is what the networks' plugins said; usually empty.
	DNS DNS `json:"dns"`
	// Ports are the published ports, with all host ports filled.
	Ports []Port `json:"ports,omitempty"`
}

// Interface is one interface of a sandbox.
type Interface struct {
	// Network is the network's name, Name the interface's in the sandbox.
	Network string `json:"network"`
	Name    string `json:"name"`
	// MAC is its hardware address.
	MAC string `json:"mac,omitempty"`
	// HostName is the other end's name on the host, if there is one.
	HostName string `json:"hostName,omitempty"`
	// IPs are its addresses with their subnets' length.
	IPs []netip.Prefix `json:"ips,omitempty"`
	// Gateways are the gateways of the networks of IPs.
	Gateways []netip.Addr `json:"gateways,omitempty"`
}

// IPs lists all addresses, the first network's first: the primary address is
// the first one.
func (a Attachment) IPs() []netip.Addr {
	var ips []netip.Addr
	for _, i := range a.Interfaces {
		ips = append(ips, addresses(i.IPs)...)
	}
	return ips
}

// add takes over a plugin chain's result.
func (a *Attachment) add(network, ifName string, result types.Result) error {
	r, err := types100.GetResult(result)
	if err != nil {
		return err
	}
	i := Interface{Network: network, Name: ifName}
	for _, link := range r.Interfaces {
		switch {
		case link.Sandbox != "" && link.Name == ifName:
			i.MAC = link.Mac
		case link.Sandbox == "" && isVeth(link.Name):
			i.HostName = link.Name
		}
	}
	for _, ip := range r.IPs {
		if n := ip.Interface; n != nil && *n >= 0 && *n < len(r.Interfaces) && r.Interfaces[*n].Sandbox == "" {
			continue // an address of the host's side
		}
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if !ok {
			continue
		}
		ones, _ := ip.Address.Mask.Size()
		i.IPs = append(i.IPs, netip.PrefixFrom(addr.Unmap(), ones))
		if gw, ok := netip.AddrFromSlice(ip.Gateway); ok {
			i.Gateways = append(i.Gateways, gw.Unmap())
		}
	}
	a.Interfaces = append(a.Interfaces, i)
	a.DNS.Servers = append(a.DNS.Servers, r.DNS.Nameservers...)
	a.DNS.Searches = append(a.DNS.Searches, r.DNS.Search...)
	if r.DNS.Domain != "" {
		a.DNS.Searches = append(a.DNS.Searches, r.DNS.Domain)
	}
	a.DNS.Options = append(a.DNS.Options, r.DNS.Options...)
	return nil
}

// isVeth tells the host's end of a pair from the bridge in a result: plugins
// name it veth and a hash.
func isVeth(name string) bool { return len(name) > 4 && name[:4] == "veth" }
