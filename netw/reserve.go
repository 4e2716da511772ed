package netw

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/netw/nft"
	"golang.org/x/sys/unix"
)

// PortInUseError says that a host port cannot be published. It wraps
// errdefs.ErrUnavailable.
type PortInUseError struct {
	// Port is what was asked for.
	Port Port
	// Holder is the name, or the ID, of the sandbox that has published it;
	// empty if some other process listens on it.
	Holder string
}

// Error implements error.
func (e *PortInUseError) Error() string {
	by := "another process listens on it"
	if e.Holder != "" {
		by = fmt.Sprintf("%q has published it", e.Holder)
	}
	return fmt.Sprintf("host port %s is in use: %s", hostSide(e.Port), by)
}

// Unwrap gives the error's class.
func (e *PortInUseError) Unwrap() error { return errdefs.ErrUnavailable }

// hostSide is the host's half of a port, as in 0.0.0.0:80/tcp.
func hostSide(p Port) string {
	addr := netip.IPv4Unspecified()
	if p.HostIP.IsValid() {
		addr = p.HostIP
	}
	return netip.AddrPortFrom(addr, p.HostPort).String() + "/" + p.Protocol
}

// maxHeld bounds the sockets that a reservation keeps open; further ports are
// tested and let go.
const maxHeld = 512

// reservation holds host ports by having sockets bound to them, from the test
// that they are free until they are in the nft table: so two davits that want
// the same port see each other, without a lock around the slow part.
type reservation struct {
	table nft.Table
	known *ledger
	six   bool // ports for all addresses are published on IPv6 as well
	ports []Port
	held  []int
}

// release closes the sockets.
func (r *reservation) release() {
	for _, fd := range r.held {
		_ = unix.Close(fd)
	}
	r.held = nil
}

// reserve binds every port of ports and fills in those that are to be chosen.
// six says that ports for all addresses are published on IPv6 as well. A busy
// port is *PortInUseError.
func (f *firewall) reserve(ports []Port, six bool) (*reservation, error) {
	r := &reservation{table: f.table, known: f.known, six: six, ports: slices.Clone(ports)}
	if err := r.fill(ports); err != nil {
		r.release()
		return nil, err
	}
	return r, nil
}

// fill binds the asked ports and then reads what is published, in this order: a
// sandbox that has just let go of its sockets has put its ports into the table or
// on record before, so what the bind test does not see any more is seen there.
func (r *reservation) fill(asked []Port) error {
	for i, p := range asked {
		if err := r.take(i, p); err != nil {
			return err
		}
	}
	for try := 0; len(asked) > 0; try++ {
		published, err := r.published()
		if err != nil {
			return err
		}
		again := false
		for i, p := range r.ports {
			at := slices.IndexFunc(published, func(c claim) bool { return p.overlaps(c.port) })
			if at < 0 {
				continue
			}
			if asked[i].HostPort != 0 || try == maxTries {
				return &PortInUseError{Port: p, Holder: r.known.nameOf(published[at].owner)}
			}
			again = true
			if err := r.take(i, asked[i]); err != nil {
				return err
			}
		}
		if !again {
			break
		}
	}
	return nil
}

// claim is a port that a sandbox has published.
type claim struct {
	port  Port
	owner string
}

// published are the ports in davit's table, and those that a plugin of the network
// has published: portmap takes a port that another sandbox has.
func (r *reservation) published() ([]claim, error) {
	elements, err := r.table.AllElements()
	if err != nil {
		return nil, err
	}
	var out []claim
	for _, e := range elements {
		out = append(out, claim{portOf(e), e.Owner})
	}
	all, err := r.known.intents()
	if err != nil {
		r.known.log.Warn("looking for published ports", "error", err)
	}
	for _, in := range all {
		for _, p := range in.Ports {
			if !in.TablePorts {
				out = append(out, claim{p, in.ID})
			}
		}
	}
	return out, nil
}

// maxTries bounds the search for a free port.
const maxTries = 50

// take binds p on its addresses and makes it r.ports[i]; without a host port it
// tries what the kernel offers until one is free on all of them.
func (r *reservation) take(i int, p Port) error {
	choose := p.HostPort == 0
	for try := 0; ; try++ {
		var err error
		if choose {
			if p.HostPort, err = freePort(p); err != nil {
				return err
			}
		}
		if choose && slices.ContainsFunc(r.ports, p.overlaps) {
			err = &PortInUseError{Port: p}
		} else {
			err = r.bindAll(p)
		}
		if err == nil {
			r.ports[i] = p
			return nil
		}
		var inUse *PortInUseError
		if !choose || !errors.As(err, &inUse) || try == maxTries {
			return err
		}
	}
}

// bindAll binds p on all its addresses.
func (r *reservation) bindAll(p Port) error {
	for _, addr := range bindAddresses(p, r.six) {
		fd, err := bind(addr, p)
		if errors.Is(err, unix.EADDRINUSE) {
			return &PortInUseError{Port: p, Holder: r.known.holder(p)}
		}
		if err != nil {
			return fmt.Errorf("testing host port %s: %w", hostSide(p), err)
		}
		switch {
		case fd < 0:
		case len(r.held) < maxHeld:
			r.held = append(r.held, fd)
		default:
			_ = unix.Close(fd)
		}
	}
	return nil
}

// portOf is the port that an element of the table publishes.
func portOf(e nft.Element) Port {
	p := Port{HostIP: e.HostIP, HostPort: e.HostPort, ContainerPort: e.To.Port(), Protocol: e.Protocol}
	if p.HostIP.IsValid() {
		return p
	}
	if p.HostIP = netip.IPv6Unspecified(); e.To.Addr().Is4() {
		p.HostIP = netip.IPv4Unspecified()
	}
	return p
}

// bindAddresses are the host addresses that p is published on.
func bindAddresses(p Port, six bool) []netip.Addr {
	switch {
	case p.HostIP.IsValid():
		return []netip.Addr{p.HostIP}
	case six:
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	default:
		return []netip.Addr{netip.IPv4Unspecified()}
	}
}

// holder names the sandbox that is about to publish, or has published, p.
func (l *ledger) holder(p Port) string {
	all, err := l.intents()
	if err != nil {
		l.log.Warn("looking for the holder of a port", "port", hostSide(p), "error", err)
	}
	for _, in := range all {
		if slices.ContainsFunc(in.Ports, p.overlaps) {
			return in.display()
		}
	}
	return ""
}

// nameOf is the name of the sandbox with that ID, or the ID.
func (l *ledger) nameOf(id string) string {
	all, _ := l.intents()
	for _, in := range all {
		if in.ID == id {
			return in.display()
		}
	}
	return id
}

func (in *intent) display() string {
	if in.Name != "" {
		return in.Name
	}
	return in.ID
}

// freePort asks the kernel for a port that is free on p's first address.
func freePort(p Port) (uint16, error) {
	p.HostPort = 0
	fd, err := bind(bindAddresses(p, false)[0], p)
	if err == nil && fd < 0 {
		err = unix.EPROTONOSUPPORT
	}
	if err != nil {
		return 0, fmt.Errorf("asking for a free host port: %w", err)
	}
	defer unix.Close(fd)
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("asking for a free host port: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port), nil
	case *unix.SockaddrInet6:
		return uint16(sa.Port), nil
	}
	return 0, fmt.Errorf("asking for a free host port: unexpected address: %w", errdefs.ErrUnavailable)
}

// bind binds a socket without listening, so that a connection that comes before
// the port is published is refused rather than lost. The result is -1 where the
// kernel lacks the protocol or family: nobody can listen there.
func bind(addr netip.Addr, p Port) (int, error) {
	fd, err := socket(addr, p.Protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	err = bindTo(fd, addr, p.HostPort)
	if errors.Is(err, unix.EADDRINUSE) && p.Protocol == "tcp" {
		// Connections in TIME_WAIT block a plain bind, but not a listener that
		// asks for reuse; a real listener refuses both.
		err = probeReuse(addr, p)
		if err == nil {
			_ = unix.Close(fd)
			return -1, nil
		}
	}
	if err == nil {
		return fd, nil
	}
	_ = unix.Close(fd)
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL) && addr.IsUnspecified():
		return -1, nil // IPv6 is switched off
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return -1, fmt.Errorf("%s is no address of this host: %w", addr, errdefs.ErrInvalidArgument)
	}
	return -1, err
}

// socket makes an unbound socket for a protocol.
func socket(addr netip.Addr, protocol string) (int, error) {
	domain, typ, proto := unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP
	switch protocol {
	case "udp":
		typ, proto = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case "sctp":
		proto = unix.IPPROTO_SCTP
	}
	if addr.Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, err
	}
	if addr.Is6() {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func bindTo(fd int, addr netip.Addr, port uint16) error {
	if addr.Is6() {
		return unix.Bind(fd, &unix.SockaddrInet6{Port: int(port), Addr: addr.As16()})
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: int(port), Addr: addr.As4()})
}

// probeReuse binds and listens for an instant, with SO_REUSEADDR.
func probeReuse(addr netip.Addr, p Port) error {
	fd, err := socket(addr, p.Protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := bindTo(fd, addr, p.HostPort); err != nil {
		return err
	}
	return unix.Listen(fd, 1)
}
