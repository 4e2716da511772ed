package monitor

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// ErrMonitorSilent says that the monitor lives and takes no clients: it is
// stopped, or waits for a client that does not read.
var ErrMonitorSilent = fmt.Errorf("the container's monitor takes no clients: it is stopped, or another client holds it up: %w", errdefs.ErrUnavailable)

// acceptTimeout is how long a monitor may leave a client waiting.
const acceptTimeout = 10 * time.Second

// watchAccept calls refused if the monitor has not accepted the connection in
// time. Connecting alone does not tell: the kernel does that while the monitor
// does not run.
func (a *Attachment) watchAccept(ctx context.Context, refused func()) (stop func()) {
	patience := a.patience
	if patience == 0 {
		patience = acceptTimeout
	}
	timer := time.AfterFunc(patience, func() {
		if ctx.Err() == nil && !a.accepted() {
			refused()
		}
	})
	return func() { timer.Stop() }
}

// accepted tells whether the other end of the connection is anybody's, or was. Where
// the kernel does not say, it counts as accepted.
func (a *Attachment) accepted() bool {
	peer, known := a.peer()
	return !known || peer != 0 || a.poll(0)&unix.POLLHUP != 0
}

// peer is the inode of the other end of the connection, 0 until that is accepted.
func (a *Attachment) peer() (inode uint32, known bool) {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	var st unix.Stat_t
	err = raw.Control(func(fd uintptr) { _ = unix.Fstat(int(fd), &st) })
	if err != nil || st.Ino == 0 || st.Ino > math.MaxUint32 {
		return 0, false
	}
	return peerOf(uint32(st.Ino))
}

// Of linux/unix_diag.h and linux/sock_diag.h.
const (
	sockDiagByFamily = 20
	showPeer         = 4
	attrPeer         = 2
	diagRequestSize  = 24
	diagMessageSize  = 16
)

// peerOf asks the kernel for the inode of a unix socket's peer, which is 0 until
// that has been accepted (sock_diag(7)).
func peerOf(inode uint32) (peer uint32, known bool) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false
	}
	defer func() { _ = unix.Close(fd) }()
	req := make([]byte, unix.NLMSG_HDRLEN+diagRequestSize)
	native := binary.NativeEndian
	native.PutUint32(req, uint32(len(req)))
	native.PutUint16(req[4:], sockDiagByFamily)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST)
	body := req[unix.NLMSG_HDRLEN:]
	body[0] = unix.AF_UNIX
	native.PutUint32(body[4:], math.MaxUint32) // in any state
	native.PutUint32(body[8:], inode)
	native.PutUint32(body[12:], showPeer)
	native.PutUint64(body[16:], math.MaxUint64) // no cookie
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, false
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil || n < unix.NLMSG_HDRLEN+diagMessageSize || native.Uint16(buf[4:]) != sockDiagByFamily {
		return 0, false
	}
	for attrs := buf[unix.NLMSG_HDRLEN+diagMessageSize : n]; len(attrs) >= unix.NLA_HDRLEN; {
		size := int(native.Uint16(attrs))
		if size < unix.NLA_HDRLEN || size > len(attrs) {
			break
		}
		if native.Uint16(attrs[2:]) == attrPeer && size >= unix.NLA_HDRLEN+4 {
			return native.Uint32(attrs[unix.NLA_HDRLEN:]), true
		}
		attrs = attrs[min(len(attrs), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return 0, false
}
