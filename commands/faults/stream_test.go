//go:build faults || faultslong

package faults

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The channels of a remote command's WebSocket.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStatus = 3
	channelClose  = 255 // what closes another one
)

// streams is a client that is attached to a container through the server.
type streams struct {
	s    *server
	id   string // the container's
	ws   *websocket.Conn
	conn *net.TCPConn
}

// attach attaches a client to a container's output, and to its stdin where it is
// asked to. The client's session stands when it returns.
func (s *server) attach(id string, stdin bool) *streams {
	s.n.t.Helper()
	out, err := s.Attach(s.n.t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdin: stdin, Stdout: true, Stderr: true})
	if err != nil {
		s.n.t.Fatal(err)
	}
	at, err := url.Parse(out.Url)
	if err != nil {
		s.n.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", at.Host)
	if err != nil {
		s.n.t.Fatal(err)
	}
	at.Scheme = "ws"
	config := &websocket.Config{
		Location: at, Origin: &url.URL{Scheme: "http", Host: at.Host}, Version: websocket.ProtocolVersionHybi13,
		Protocol: []string{"v5.channel.k8s.io"}, Header: http.Header{},
	}
	c := &streams{s: s, id: id, conn: conn.(*net.TCPConn)}
	if c.ws, err = websocket.NewClient(config, conn); err != nil {
		s.n.t.Fatal(err)
	}
	c.ws.PayloadType = websocket.BinaryFrame
	s.n.t.Cleanup(c.close)
	c.next() // an empty one, which says that the session stands
	return c
}

// close hangs up.
func (c *streams) close() { _ = c.ws.Close() }

// next is the next message, and what it is of; -1 is the end.
func (c *streams) next() (channel int, data string) {
	_ = c.ws.SetReadDeadline(time.Now().Add(30 * time.Second))
	var got []byte
	if err := websocket.Message.Receive(c.ws, &got); err != nil || len(got) == 0 {
		return -1, ""
	}
	return int(got[0]), string(got[1:])
}

// rest reads to the end: the output, and the status that came last.
func (c *streams) rest() (output, status string) {
	var text strings.Builder
	for {
		switch channel, data := c.next(); channel {
		case -1:
			return text.String(), status
		case channelStatus:
			status += data
		default:
			text.WriteString(data)
		}
	}
}
