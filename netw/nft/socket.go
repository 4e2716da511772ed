package nft

import (
	"fmt"
	"syscall"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// batchBuffer is how much of a transaction the socket takes at once: the whole of
// it has to fit, and publishing a range of all ports makes some megabytes.
const batchBuffer = 16 << 20

// socket is a netlink socket for several requests.
type socket struct {
	*nftables.Conn
	raw syscall.RawConn
}

// dial opens a socket; close it, or leave it.
func (t Table) dial() (*socket, error) {
	s := &socket{}
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) (err error) {
		// forced, where the privilege is there; the default is enough otherwise
		_ = c.SetWriteBuffer(batchBuffer)
		_ = c.SetReadBuffer(batchBuffer)
		s.raw, err = c.SyscallConn()
		return err
	}))
	if err != nil {
		return nil, fmt.Errorf("opening netfilter netlink socket: %w", err)
	}
	s.Conn = c
	return s, nil
}

// leave closes a socket and has nobody wait for what that takes. Whoever closes the
// last descriptor of one waits for the kernel's destruction of what was deleted
// (nft_rcv_nl_event), which begins with an RCU grace period, 10 to 15 ms; a process
// that ends does as well. Here the kernel's collector of garbage does it: the last
// descriptor is in a message that nobody can receive, sent to a socket of which the
// only descriptor is in that message, too (unix(7), SCM_RIGHTS). Older kernels collect
// in whoever closes, which takes as long as without.
func (s *socket) leave() {
	drop := func() {}
	_ = s.raw.Control(func(fd uintptr) { drop = sendToNobody(int(fd)) })
	_ = s.CloseLasting()
	drop()
}

// sendToNobody puts a copy of a descriptor where only the kernel's collector finds it,
// once drop has been called, and no other is left. Where that fails there is no copy.
func sendToNobody(fd int) (drop func()) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	_ = unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(pair[1], fd), nil, 0)
	return func() {
		_ = unix.Close(pair[1])
		_ = unix.Close(pair[0]) // last: the end of a socket that can be reached is what starts the collector
	}
}
