package bridge

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Config describes a bridge.
type Config struct {
	// Name is the interface's name.
	Name string
	// Addresses are the gateways with the length of their subnets.
	Addresses []netip.Prefix
	// MTU is the interface's; 0 is the kernel's default.
	MTU int
	// VLAN tags the network inside the bridge; 0 is none.
	VLAN int
	// Isolated leaves forwarding alone: the network has no way out.
	Isolated bool
}

// Ensure makes the bridge as c says, or mends what is missing: link, addresses,
// up state, forwarding, and route_localnet, which lets traffic from 127.0.0.1
// to published ports leave over it (the guard chain of package nft closes what
// that opens). It is idempotent and safe across processes. When all is in
// place it costs two netlink requests. An interface of that name which is no
// bridge is ErrAlreadyExists.
func Ensure(c Config) error {
	link, err := ensureLink(c)
	if err != nil {
		return fmt.Errorf("setting up bridge %s: %w", c.Name, err)
	}
	if err := ensureAddresses(link, c.Addresses); err != nil {
		return fmt.Errorf("setting up addresses of bridge %s: %w", c.Name, err)
	}
	if err := ensureSysctls(c, has6(c.Addresses)); err != nil {
		return fmt.Errorf("setting up bridge %s: %w", c.Name, err)
	}
	return nil
}

// ensureLink finds or adds the link and brings it up.
func ensureLink(c Config) (netlink.Link, error) {
	link, err := netlink.LinkByName(c.Name)
	if isAbsent(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = c.Name, c.MTU
		attrs.HardwareAddr = hardwareAddr(c.Name)
		err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, err
		}
		link, err = netlink.LinkByName(c.Name)
	}
	if err != nil {
		return nil, err
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("interface %s is a %s, not a bridge: %w", c.Name, link.Type(), errdefs.ErrAlreadyExists)
	}
	if err := ensureVLAN(link, c.VLAN); err != nil {
		return nil, err
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return link, netlink.LinkSetUp(link)
	}
	return link, nil
}

// ensureVLAN makes the bridge itself a member of the VLAN, untagged, so that its
// addresses are those of the VLAN's gateway. ErrNotImplemented where the kernel
// has no VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING).
func ensureVLAN(link netlink.Link, vlan int) error {
	br, ok := link.(*netlink.Bridge)
	if vlan == 0 || !ok || br.VlanFiltering != nil && *br.VlanFiltering {
		return nil
	}
	// the membership first: filtering is what shows that both were done
	err := netlink.BridgeVlanAdd(link, uint16(vlan), true, true, true, false)
	if err == nil {
		err = netlink.BridgeSetVlanFiltering(link, true)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("VLAN %d: the kernel has no VLAN filtering for bridges: %w: %w", vlan, err, errdefs.ErrNotImplemented)
	}
	if err != nil {
		return fmt.Errorf("VLAN %d: %w", vlan, err)
	}
	return nil
}

// hardwareAddr gives a bridge a fixed, locally administered address: with one
// of its own it does not take that of its lowest port, and so keeps it when
// ports come and go.
func hardwareAddr(name string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("davit bridge " + name))
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// ensureAddresses adds the addresses that are missing.
func ensureAddresses(link netlink.Link, want []netip.Prefix) error {
	have, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, p := range want {
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return prefixOf(a.IPNet) == p }) {
			continue
		}
		if err := netlink.AddrAdd(link, addrOf(p)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("adding %s: %w", p, err)
		}
	}
	return nil
}

// Remove deletes the bridge; absent is success. An interface of that name that
// is no bridge is left alone.
func Remove(name string) error {
	link, err := netlink.LinkByName(name)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finding bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return nil
	}
	if err := netlink.LinkDel(link); err != nil && !isAbsent(err) {
		return fmt.Errorf("deleting bridge %s: %w", name, err)
	}
	return nil
}

// Plug makes an interface a port of the bridge again, with hairpin mode and its VLAN;
// an absent interface is success.
func Plug(c Config, port string) error {
	link, err := netlink.LinkByName(port)
	if isAbsent(err) || port == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finding interface %s: %w", port, err)
	}
	master, err := netlink.LinkByName(c.Name)
	if err != nil {
		return fmt.Errorf("finding bridge %s: %w", c.Name, err)
	}
	if link.Attrs().MasterIndex != master.Attrs().Index {
		if err := plugIn(&netlink.Handle{}, c, master, link); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing %s up: %w", port, err)
	}
	return nil
}

// plugIn makes link a port of the bridge, by h.
func plugIn(h *netlink.Handle, c Config, master, link netlink.Link) error {
	err := h.LinkSetMaster(link, master)
	if err == nil {
		err = h.LinkSetHairpin(link, true)
	}
	if err == nil && c.VLAN != 0 {
		err = h.BridgeVlanAdd(link, uint16(c.VLAN), true, true, false, true)
	}
	if err != nil {
		return fmt.Errorf("plugging %s into bridge %s: %w", link.Attrs().Name, c.Name, err)
	}
	return nil
}

// Exists reports whether the host has an interface of that name.
func Exists(name string) (bool, error) {
	_, err := netlink.LinkByName(name)
	if isAbsent(err) {
		return false, nil
	}
	return err == nil, err
}

// isAbsent reports whether err says that a link is not there.
func isAbsent(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}

// deleteLink deletes the interface of that name where h is; absent is success.
func deleteLink(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkDel(link)
	}
	if isAbsent(err) {
		return nil
	}
	return err
}

// has6 reports whether an address of IPv6 is among them.
func has6(ps []netip.Prefix) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// addrOf is an address to add. Duplicate address detection would leave one of IPv6
// unusable for a second, and whoever gave it out knows that nobody else has it.
func addrOf(p netip.Prefix) *netlink.Addr {
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// prefixOf converts a library address; the zero prefix if it is none.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	ones, bits := n.Mask.Size()
	if addr = addr.Unmap(); bits != addr.BitLen() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, ones)
}

// ipNet converts to the library's form.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
