package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// procNet is where the kernel keeps the host's network settings.
const procNet = "/proc/sys/net"

// ensureSysctls turns forwarding on and prepares the bridge for traffic from
// localhost.
func ensureSysctls(c Config, six bool) error {
	settings := [][2]string{{"ipv4/conf/" + c.Name + "/route_localnet", "1"}}
	if !c.Isolated {
		settings = append(settings, [2]string{"ipv4/ip_forward", "1"})
	}
	if six {
		settings = append(settings, [2]string{"ipv6/conf/" + c.Name + "/accept_ra", "0"})
	}
	for _, s := range settings {
		if err := ensureSetting(s[0], s[1]); err != nil {
			return err
		}
	}
	if six && !c.Isolated {
		return ensureForwarding6()
	}
	return nil
}

// RouteLocalhost lets the host's loopback reach ports that are translated to an
// IPv4 address behind a bridge or a veth that is not davit's. It changes nothing
// for other kinds of links, which may lead out of the host.
func RouteLocalhost(ip netip.Addr) error {
	if !ip.Is4() {
		return nil
	}
	routes, err := netlink.RouteGet(ip.AsSlice())
	if err != nil || len(routes) == 0 {
		return err
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return err
	}
	if kind := link.Type(); kind != "bridge" && kind != "veth" {
		return nil
	}
	return ensureSetting("ipv4/conf/"+link.Attrs().Name+"/route_localnet", "1")
}

// ensureForwarding6 turns IPv6 forwarding on. A host that forwards ignores
// router advertisements unless accept_ra is 2 (networking/ip-sysctl, accept_ra),
// so interfaces that got their routes that way are told to go on: otherwise the
// host would lose its default route once it expires.
func ensureForwarding6() error {
	on, err := readSetting("ipv6/conf/all/forwarding")
	if err != nil || on == "1" {
		return err
	}
	routes, err := whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("listing IPv6 routes: %w", err)
	}
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			continue // gone meanwhile
		}
		name := "ipv6/conf/" + link.Attrs().Name + "/accept_ra"
		if v, err := readSetting(name); err == nil && v == "1" {
			if err := ensureSetting(name, "2"); err != nil {
				return err
			}
		}
	}
	return ensureSetting("ipv6/conf/all/forwarding", "1")
}

// HasIPv6 reports whether the host has IPv6 worth giving to containers: it is
// enabled, and some interface but lo has an address beyond its link.
func HasIPv6() bool {
	off, err := readSetting("ipv6/conf/all/disable_ipv6")
	if err != nil || off != "0" {
		return false
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V6) })
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if a.Scope == unix.RT_SCOPE_UNIVERSE && !a.IP.IsLoopback() {
			return true
		}
	}
	return false
}

// ensureSetting writes value unless it is there already.
func ensureSetting(name, value string) error {
	have, err := readSetting(name)
	if err == nil && have == value {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("setting %s: the kernel has no such setting: %w", name, err)
	}
	if err := writeSetting(name, value); err != nil {
		return fmt.Errorf("setting %s to %s: %w", name, value, err)
	}
	return nil
}

func writeSetting(name, value string) error {
	return os.WriteFile(filepath.Join(procNet, name), []byte(value), 0)
}

func readSetting(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(procNet, name))
	return strings.TrimSpace(string(b)), err
}
