package streaming

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/websocket"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// servePorts serves a client that forwards ports of a sandbox: over SPDY any
// number of connections to any ports, over a WebSocket one to each of ports, or
// SPDY inside of it.
func (s *Server) servePorts(w http.ResponseWriter, r *http.Request, id string, ports []int32) {
	f := &forwarder{ctx: r.Context, pods: s.pods, id: id}
	if !wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		s.forward(w, r, f, ports)
	} else {
		server := websocket.Server{Handshake: chooseTunnel, Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			s.forward(&tunnel{ws: ws, header: http.Header{}}, tunnelled(r), f, nil)
		}}
		server.ServeHTTP(w, r)
	}
	// The protocol's server does not wait for its connections.
	f.end(w)
}

func (s *Server) forward(w http.ResponseWriter, r *http.Request, f *forwarder, ports []int32) {
	// The sandbox stands for the pod's name; its UID is not used.
	portforward.ServePortForward(w, r, f, f.id, "", &portforward.V4Options{Ports: ports},
		s.o.Idle, s.o.Creation, portforward.SupportedProtocols)
}

// forwarder is a client's session, for the server of the protocol, which gives
// its connections a context of nobody.
type forwarder struct {
	ctx  func() context.Context
	pods Pods
	id   string

	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

// PortForward implements portforward.PortForwarder.
func (f *forwarder) PortForward(_ context.Context, id, _ string, port int32, stream io.ReadWriteCloser) error {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return errClosed
	}
	f.running.Add(1)
	f.mu.Unlock()
	defer f.running.Done()
	return f.pods.Forward(f.ctx(), id, uint16(port), stream)
}

// end ends the connections that are under way and waits for them.
func (f *forwarder) end(w http.ResponseWriter) {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	if session, ok := w.(*session); ok {
		session.cancel(errClosed)
	}
	f.running.Wait()
}

// chooseTunnel agrees with a client on SPDY inside of a WebSocket.
func chooseTunnel(config *websocket.Config, _ *http.Request) error {
	if !slices.Contains(config.Protocol, portforward.WebsocketsSPDYTunnelingPortForwardV1) {
		return fmt.Errorf("none of the protocols %q is served: %w", config.Protocol, websocket.ErrBadWebSocketProtocol)
	}
	config.Protocol = []string{portforward.WebsocketsSPDYTunnelingPortForwardV1}
	return nil
}

// tunnelled is the request that a client would have made without the WebSocket.
func tunnelled(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Header = http.Header{}
	r.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	r.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	r.Header.Set(httpstream.HeaderProtocolVersion, strings.TrimPrefix(
		portforward.WebsocketsSPDYTunnelingPortForwardV1, portforward.WebsocketsSPDYTunnelingPrefix))
	return r
}

// tunnel is the ResponseWriter of a request whose upgrade has happened: its
// connection are the messages of a WebSocket.
type tunnel struct {
	ws     *websocket.Conn
	header http.Header
}

// Header implements http.ResponseWriter.
func (t *tunnel) Header() http.Header { return t.header }

// WriteHeader implements http.ResponseWriter: nobody waits for one.
func (t *tunnel) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (t *tunnel) Write([]byte) (int, error) {
	return 0, errors.New("a tunnel has no room for an answer in HTTP")
}

// Hijack implements http.Hijacker.
func (t *tunnel) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.ws, bufio.NewReadWriter(bufio.NewReader(t.ws), bufio.NewWriter(t.ws)), nil
}
