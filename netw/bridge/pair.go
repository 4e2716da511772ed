package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/netw/netns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// useTime is how long an interface may take until it can be used.
const useTime = 3 * time.Second

// maxNames bounds the search for a name that no interface of the host has.
const maxNames = 10

// End is a sandbox's end of a pair of interfaces whose other end is a port of a bridge.
type End struct {
	// Netns is the path of the sandbox's network namespace, Name the interface's in it.
	Netns, Name string
	// MAC is its hardware address; empty lets the kernel choose.
	MAC string
	// Addresses are its own with the length of their subnets.
	Addresses []netip.Prefix
	// Routers are where its default routes lead, at most one of a family.
	Routers []netip.Addr
}

// Join makes e and plugs the other end into the bridge, with hairpin mode and the
// bridge's MTU and VLAN. It returns e's hardware address and the other end's name
// when traffic flows. On an error there is neither end.
//
// ErrAlreadyExists: the sandbox has an interface of that name. ErrNotFound: there is
// no such bridge, or no such namespace.
func Join(ctx context.Context, c Config, e End) (mac, port string, err error) {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return "", "", fmt.Errorf("joining bridge %s: %w", c.Name, err)
	}
	defer host.Close()
	port, err = makePair(host, c, e)
	if err != nil {
		return "", "", fmt.Errorf("joining bridge %s: %w", c.Name, err)
	}
	if err = failpoint.Reach(ctx, failpoint.NetworkPaired); err == nil {
		mac, err = furnish(ctx, host, c, e, port)
	}
	if err != nil {
		// either end takes the other with it
		return "", "", fmt.Errorf("joining bridge %s: %w", c.Name, errors.Join(err, deleteLink(host, port)))
	}
	return mac, port, nil
}

// makePair makes both ends, the sandbox's in its namespace, by one request: a pair of
// which only one end is where it belongs is never there.
func makePair(host *netlink.Handle, c Config, e End) (port string, err error) {
	space, err := os.Open(e.Netns)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("network namespace %s: %w", e.Netns, errdefs.ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("opening network namespace: %w", err)
	}
	defer space.Close()
	pair := &netlink.Veth{PeerName: e.Name, PeerNamespace: netlink.NsFd(int(space.Fd())), PeerMTU: uint32(c.MTU)}
	if e.MAC != "" {
		if pair.PeerHardwareAddr, err = net.ParseMAC(e.MAC); err != nil {
			return "", fmt.Errorf("hardware address %q: %w: %w", e.MAC, err, errdefs.ErrInvalidArgument)
		}
	}
	for range maxNames {
		var random [4]byte
		_, _ = rand.Read(random[:])
		port = "veth" + hex.EncodeToString(random[:])
		pair.LinkAttrs = netlink.NewLinkAttrs()
		pair.Name, pair.MTU = port, c.MTU
		err = host.LinkAdd(pair)
		if !errors.Is(err, unix.EEXIST) {
			break
		}
		if _, find := host.LinkByName(port); isAbsent(find) {
			return "", fmt.Errorf("the sandbox has an interface %s: %w", e.Name, errdefs.ErrAlreadyExists)
		}
	}
	if err != nil {
		return "", fmt.Errorf("making interface %s: %w", e.Name, err)
	}
	return port, nil
}

// furnish plugs the port in, sets up the sandbox's end, and waits until
// traffic flows.
func furnish(ctx context.Context, host *netlink.Handle, c Config, e End, port string) (mac string, err error) {
	master, err := host.LinkByName(c.Name)
	if isAbsent(err) {
		return "", fmt.Errorf("the bridge is gone: %w", errdefs.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	link, err := host.LinkByName(port)
	if err != nil {
		return "", err
	}
	if err := plugIn(host, c, master, link); err != nil {
		return "", err
	}
	if err := host.LinkSetUp(link); err != nil {
		return "", fmt.Errorf("bringing %s up: %w", port, err)
	}
	err = netns.Do(e.Netns, func() error {
		mac, err = e.setUp(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	// with its first port the bridge comes up too
	return mac, errors.Join(awaitUse(ctx, host, port, nil), awaitUse(ctx, host, c.Name, c.Addresses))
}

// setUp gives the interface its addresses and routes, in the thread's network
// namespace. The other end must be up.
func (e End) setUp(ctx context.Context) (mac string, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return "", err
	}
	defer h.Close()
	link, err := h.LinkByName(e.Name)
	if err != nil {
		return "", err
	}
	if err := e.prepare(); err != nil {
		return "", err
	}
	for _, p := range e.Addresses {
		if err := h.AddrAdd(link, addrOf(p)); err != nil {
			return "", fmt.Errorf("adding %s to %s: %w", p, e.Name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return "", fmt.Errorf("bringing %s up: %w", e.Name, err)
	}
	for _, via := range e.Routers {
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if via.Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(all), Gw: via.AsSlice()})
		// the first network of several is the one that leads out
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return "", fmt.Errorf("adding the route by %s: %w", via, err)
		}
	}
	return link.Attrs().HardwareAddr.String(), awaitUse(ctx, h, e.Name, e.Addresses)
}

// prepare writes the settings of the thread's network namespace (networking/ip-sysctl)
// that the interface needs: it tells its neighbours when it comes up, as somebody else
// may have had the address before; it does not look for others with its link's address,
// which only delays that; and it has IPv6 if it has such an address.
func (e End) prepare() error {
	four, six := "ipv4/conf/"+e.Name+"/", "ipv6/conf/"+e.Name+"/"
	_ = writeSetting(four+"arp_notify", "1") // of no consequence where the kernel has none
	_ = writeSetting(six+"accept_dad", "0")
	if !has6(e.Addresses) {
		return nil
	}
	for _, s := range [][2]string{{"ipv6/conf/lo/disable_ipv6", "0"}, {six + "disable_ipv6", "0"}, {six + "keep_addr_on_down", "1"}} {
		if err := ensureSetting(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// awaitUse waits until an interface can be used: the kernel sees a carrier in the
// background, drops what is sent before, and takes an IPv6 address for its own only
// some time after it was added.
func awaitUse(ctx context.Context, h *netlink.Handle, name string, addresses []netip.Prefix) error {
	for began, pause := time.Now(), 500*time.Microsecond; ; pause *= 2 {
		lack, err := lacks(h, name, addresses)
		if err != nil || lack == "" {
			return err
		}
		if time.Since(began) > useTime {
			return fmt.Errorf("%s after %s: %w", lack, useTime, errdefs.ErrUnavailable)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", lack, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// lacks is what keeps an interface from being used; empty if nothing does.
func lacks(h *netlink.Handle, name string, addresses []netip.Prefix) (string, error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return "", err
	}
	if state := link.Attrs().OperState; state != netlink.OperUp {
		return fmt.Sprintf("interface %s is %s", name, state), nil
	}
	for _, p := range addresses {
		if p.Addr().Is4() {
			continue
		}
		routes, err := h.RouteGet(p.Addr().AsSlice())
		if err != nil || len(routes) != 1 || routes[0].Type != unix.RTN_LOCAL {
			return fmt.Sprintf("address %s of interface %s is not in use (%v)", p.Addr(), name, err), nil
		}
	}
	return "", nil
}

// Leave deletes the interface of that name in the namespace at path, with its other
// end. An absent namespace and an absent interface are success.
func Leave(path, name string) error {
	err := netns.Do(path, func() error { return deleteLink(&netlink.Handle{}, name) })
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting interface %s: %w", name, err)
	}
	return nil
}
