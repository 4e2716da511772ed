package streaming

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// farewell is how long the last words may take to write once what the
	// session ran has ended.
	farewell = 10 * time.Second
	// linger is how long a client may go on sending once everything was sent to
	// it: to close at once would reset the connection, and the client would lose
	// what it has not read.
	linger = 2 * time.Second
)

var (
	errHungUp = errors.New("the client has gone")
	errStuck  = errors.New("the client does not read")
	errClosed = errors.New("the connection was closed")
)

// session is one client: the ResponseWriter of its request, and its connection
// from the upgrade on. It ends its context when the client goes.
type session struct {
	http.ResponseWriter
	cancel context.CancelCauseFunc
	stall  time.Duration // how long a client may take for a piece of what is written

	mu      sync.Mutex
	conn    net.Conn
	early   []byte // read before the upgrade
	peer    *os.File
	last    bool // only the last words are written now
	closed  bool // nothing is read or written any more
	dropped bool
	watcher sync.WaitGroup
}

// Hijack implements http.Hijacker: the connection is the session itself.
func (s *session) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	if n := buf.Reader.Buffered(); n > 0 {
		early, _ := buf.Reader.Peek(n)
		s.early = append([]byte(nil), early...)
	}
	if s.closed {
		return nil, nil, errors.Join(net.ErrClosed, conn.Close())
	}
	s.watch()
	w := &wire{Conn: conn, s: s}
	return w, bufio.NewReadWriter(bufio.NewReader(w), bufio.NewWriter(w)), nil
}

// watch ends the context when the peer hangs up, which nobody may notice who
// waits for something else than its data. A second descriptor of the socket lets
// the poller tell without reading. (A client that had more to send than the
// kernels queue is missed only when keep-alive finds it gone, a minute or two
// later: its FIN comes after its data.)
func (s *session) watch() {
	tcp, ok := s.socket().(*net.TCPConn)
	if !ok {
		return
	}
	peer, err := tcp.File()
	if err != nil {
		return
	}
	raw, err := peer.SyscallConn()
	if err != nil {
		_ = peer.Close()
		return
	}
	s.peer = peer
	s.watcher.Go(func() {
		if raw.Read(func(fd uintptr) bool { return hungUp(int(fd)) }) == nil {
			s.cancel(errHungUp)
		}
	})
}

// socket is the connection below TLS.
func (s *session) socket() net.Conn {
	if t, ok := s.conn.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return s.conn
}

func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// ending says that what the session ran has ended: what is still to be written
// is written soon or not at all.
func (s *session) ending() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
	if s.conn != nil {
		_ = s.conn.SetWriteDeadline(time.Now().Add(farewell))
	}
}

// drop closes the connection at once: reads and writes under way fail.
func (s *session) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.dropped = true, true
	if s.conn != nil {
		_ = s.socket().Close()
	}
}

// finish ends the session after its last word. It returns when nothing of it is
// left.
func (s *session) finish() {
	s.mu.Lock()
	s.closed = true
	conn, peer, dropped := s.conn, s.peer, s.dropped
	s.mu.Unlock()
	if conn == nil {
		return
	}
	if !dropped {
		closeWrite(conn)
		closeWrite(s.socket())
		_ = conn.SetReadDeadline(time.Now().Add(linger))
		_, _ = io.Copy(io.Discard, conn)
	}
	s.cancel(nil)
	_ = conn.Close()
	if peer != nil {
		_ = peer.Close()
	}
	s.watcher.Wait()
}

func closeWrite(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// wire is a session's connection as the protocols see it.
type wire struct {
	net.Conn
	s *session
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	w.s.mu.Lock()
	if w.s.closed {
		w.s.mu.Unlock()
		return 0, net.ErrClosed
	}
	if n := copy(p, w.s.early); n > 0 {
		w.s.early = w.s.early[n:]
		w.s.mu.Unlock()
		return n, nil
	}
	w.s.mu.Unlock()
	return w.Conn.Read(p)
}

// piece is how much a client has to take in a session's time: what a copy of a stream
// writes at once, so that one that is slower than any terminal is let go, and one
// whose kernel goes on taking crumbs for it when it has itself stopped.
const piece = 32 << 10

// Write implements net.Conn. The session of a client that does not take what it is sent
// is ended.
func (w *wire) Write(p []byte) (done int, err error) {
	for part := range slices.Chunk(p, piece) {
		n, err := w.write(part)
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}

func (w *wire) write(p []byte) (int, error) {
	w.s.mu.Lock()
	last := w.s.last
	if !last {
		_ = w.Conn.SetWriteDeadline(time.Now().Add(w.s.stall))
	}
	w.s.mu.Unlock()
	n, err := w.Conn.Write(p)
	if !last && errors.Is(err, os.ErrDeadlineExceeded) {
		w.s.cancel(errStuck)
	}
	return n, err
}

// Close implements net.Conn. Before what the session runs has ended it ends that;
// the connection itself is left to finish.
func (w *wire) Close() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.closed = true
	_ = w.Conn.SetReadDeadline(time.Unix(1, 0))
	if !w.s.last {
		w.s.cancel(errClosed)
	}
	return nil
}

// SetDeadline implements net.Conn. Writes have their own deadlines.
func (w *wire) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.s.closed {
		return nil
	}
	return w.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn: see Write.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
