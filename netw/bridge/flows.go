package bridge

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// udpTo matches the tracked flows to UDP ports of the host.
type udpTo map[uint16]bool

var _ netlink.CustomConntrackFilter = udpTo(nil)

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (u udpTo) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.Protocol == unix.IPPROTO_UDP && u[flow.Forward.DstPort]
}

// ForgetUDP removes the kernel's tracked flows to UDP ports of the host, IPv4's
// or IPv6's. A flow keeps its translation as long as packets come, so without
// this a client that goes on sending would miss a port that is newly published,
// or reach the address of a sandbox that is gone. A kernel without access to
// flows is success.
func ForgetUDP(six bool, ports []uint16) error {
	if len(ports) == 0 {
		return nil
	}
	match := make(udpTo, len(ports))
	for _, p := range ports {
		match[p] = true
	}
	family := netlink.InetFamily(unix.AF_INET)
	if six {
		family = unix.AF_INET6
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, match)
	if err == nil || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("forgetting flows to UDP ports: %w", err)
}
