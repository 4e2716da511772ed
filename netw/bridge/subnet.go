package bridge

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Used lists the address ranges that the host knows: its addresses' subnets and
// its routes, default routes excepted.
func Used() ([]netip.Prefix, error) {
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	var used []netip.Prefix
	for _, a := range addrs {
		used = appendUsed(used, prefixOf(a.IPNet))
	}
	routes, err := whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	for _, r := range routes {
		used = appendUsed(used, prefixOf(r.Dst))
	}
	return used, nil
}

// appendUsed leaves out what says nothing about who uses a range: the default
// route, and link-local addresses.
func appendUsed(used []netip.Prefix, p netip.Prefix) []netip.Prefix {
	if !p.IsValid() || p.Bits() == 0 || p.Addr().IsLinkLocalUnicast() {
		return used
	}
	return append(used, p.Masked())
}

// Free returns the first of candidates that overlaps nothing in used;
// ErrResourceExhausted if there is none.
func Free(candidates func(yield func(netip.Prefix) bool), used []netip.Prefix) (netip.Prefix, error) {
	for c := range candidates {
		if !slices.ContainsFunc(used, c.Overlaps) {
			return c, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("every candidate subnet overlaps one in use on this host: %w", errdefs.ErrResourceExhausted)
}

// Gateway is the first usable address of a subnet.
func Gateway(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }
