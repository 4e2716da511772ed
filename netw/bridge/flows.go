package bridge

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ForgetUDP removes the kernel's tracked flows to a UDP port of the host. A flow
// keeps its translation as long as packets come, so without this a client that
// goes on sending would miss a port that is newly published, or reach the
// address of a sandbox that is gone. A kernel without access to flows is
// success.
func ForgetUDP(six bool, port uint16) error {
	filter := &netlink.ConntrackFilter{}
	if err := filter.AddProtocol(unix.IPPROTO_UDP); err != nil {
		return err
	}
	if err := filter.AddPort(netlink.ConntrackOrigDstPort, port); err != nil {
		return err
	}
	family := netlink.InetFamily(unix.AF_INET)
	if six {
		family = unix.AF_INET6
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter)
	if err == nil || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("forgetting flows to UDP port %d: %w", port, err)
}
