package netw

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Port is one published port.
type Port struct {
	// HostIP is the host's address; the zero value means all addresses, 0.0.0.0
	// all of IPv4 and :: all of IPv6.
	HostIP netip.Addr `json:"hostIP"`
	// HostPort is the port on the host; 0 lets Attach choose a free one.
	HostPort uint16 `json:"hostPort"`
	// ContainerPort is the port in the sandbox.
	ContainerPort uint16 `json:"containerPort"`
	// Protocol is tcp, udp or sctp.
	Protocol string `json:"protocol"`
}

// String is the port as commands show it: 0.0.0.0:8080->80/tcp.
func (p Port) String() string {
	host := "0.0.0.0"
	if p.HostIP.IsValid() {
		host = p.HostIP.String()
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d->%d/%s", host, p.HostPort, p.ContainerPort, p.Protocol)
}

// ParsePort parses podman's -p grammar:
//
//	[[hostIP:][hostPort]:]containerPort[/protocol]
//
// Ports may be ranges (8000-8010) of the same length on both sides; an absent
// host port is chosen when the port is published. An IPv6 address stands in
// brackets. Protocols are tcp (the default), udp and sctp, several joined by
// commas. One value may therefore give many ports. All refusals wrap
// ErrInvalidArgument and name s.
func ParsePort(s string) ([]Port, error) {
	ports, err := parsePort(s)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w: %w", s, err, errdefs.ErrInvalidArgument)
	}
	return ports, nil
}

func parsePort(s string) ([]Port, error) {
	spec, protocols, err := cutProtocols(s)
	if err != nil {
		return nil, err
	}
	var hostIP netip.Addr
	if rest, ok := strings.CutPrefix(spec, "["); ok {
		addr, after, ok := strings.Cut(rest, "]:")
		if !ok {
			return nil, fmt.Errorf("an IPv6 address is written as [address]:hostPort:containerPort")
		}
		if hostIP, err = parseHostIP(addr); err != nil {
			return nil, err
		}
		if strings.Count(after, ":") != 1 {
			return nil, fmt.Errorf("a host address is followed by hostPort:containerPort")
		}
		spec = after
	}
	parts := strings.Split(spec, ":")
	switch len(parts) {
	case 1, 2:
	case 3:
		if hostIP.IsValid() {
			return nil, fmt.Errorf("more than one host address")
		}
		if parts[0] != "" {
			if hostIP, err = parseHostIP(parts[0]); err != nil {
				return nil, err
			}
		}
		parts = parts[1:]
	default:
		return nil, fmt.Errorf("too many colons (an IPv6 address needs brackets)")
	}
	host := ""
	if len(parts) == 2 {
		host = parts[0]
	}
	return expandPorts(hostIP, host, parts[len(parts)-1], protocols)
}

// cutProtocols splits off "/tcp,udp".
func cutProtocols(s string) (spec string, protocols []string, err error) {
	spec, list, ok := strings.Cut(s, "/")
	if !ok {
		return spec, []string{"tcp"}, nil
	}
	for p := range strings.SplitSeq(list, ",") {
		p = strings.ToLower(p)
		if p != "tcp" && p != "udp" && p != "sctp" {
			return "", nil, fmt.Errorf("protocol %q is none of tcp, udp, sctp", p)
		}
		protocols = append(protocols, p)
	}
	return spec, protocols, nil
}

func parseHostIP(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("host address %q is no IP address", s)
	}
	return addr.Unmap(), nil
}

// expandPorts pairs the host's range with the container's.
func expandPorts(hostIP netip.Addr, host, container string, protocols []string) ([]Port, error) {
	first, last, err := parseRange(container)
	if err != nil {
		return nil, fmt.Errorf("container port: %w", err)
	}
	var hostFirst, hostLast uint16
	if host != "" && host != "0" {
		if hostFirst, hostLast, err = parseRange(host); err != nil {
			return nil, fmt.Errorf("host port: %w", err)
		}
		if hostLast-hostFirst != last-first {
			return nil, fmt.Errorf("ranges %s and %s differ in length", host, container)
		}
	}
	var ports []Port
	for i := 0; i <= int(last-first); i++ {
		for _, proto := range protocols {
			p := Port{HostIP: hostIP, ContainerPort: first + uint16(i), Protocol: proto}
			if hostFirst != 0 {
				p.HostPort = hostFirst + uint16(i)
			}
			ports = append(ports, p)
		}
	}
	return ports, nil
}

// parseRange parses "80" or "80-90".
func parseRange(s string) (first, last uint16, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if first, err = parseNumber(a); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = parseNumber(b); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("range %s ends before it starts", s)
	}
	return first, last, nil
}

func parseNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("%q is not between 1 and 65535", s)
	}
	return uint16(n), nil
}

// CheckPorts refuses ports that clash with each other, and values that
// ParsePort would not give.
func CheckPorts(ports []Port) error {
	type key struct {
		port  uint16
		proto string
	}
	seen := make(map[key][]Port)
	for _, p := range ports {
		if p.ContainerPort == 0 {
			return fmt.Errorf("published port %s: no container port: %w", p, errdefs.ErrInvalidArgument)
		}
		if p.HostIP.Is4In6() || p.HostIP.Zone() != "" {
			return fmt.Errorf("published port %s: host address %s: %w", p, p.HostIP, errdefs.ErrInvalidArgument)
		}
		if p.Protocol != "tcp" && p.Protocol != "udp" && p.Protocol != "sctp" {
			return fmt.Errorf("published port %s: protocol %q: %w", p, p.Protocol, errdefs.ErrInvalidArgument)
		}
		if p.HostPort == 0 {
			continue
		}
		k := key{p.HostPort, p.Protocol}
		for _, o := range seen[k] {
			if p.overlaps(o) {
				return fmt.Errorf("host port %d/%s is published twice: %w", p.HostPort, p.Protocol, errdefs.ErrInvalidArgument)
			}
		}
		seen[k] = append(seen[k], p)
	}
	return nil
}

// overlaps reports whether p and o want the same host port on a common address.
func (p Port) overlaps(o Port) bool {
	if p.HostPort != o.HostPort || p.Protocol != o.Protocol {
		return false
	}
	if !p.HostIP.IsValid() || !o.HostIP.IsValid() {
		return true
	}
	if p.HostIP.Is4() != o.HostIP.Is4() {
		return false
	}
	return p.HostIP == o.HostIP || p.HostIP.IsUnspecified() || o.HostIP.IsUnspecified()
}

// wants reports whether p is published for a container address of addr's family.
func (p Port) wants(addr netip.Addr) bool {
	return !p.HostIP.IsValid() || p.HostIP.Is4() == addr.Is4()
}
