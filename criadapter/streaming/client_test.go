package streaming

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/davit-containers/davit/ctr"
)

// engine is what sessions run in these tests.
type engine struct {
	exec    func(ctx context.Context, e ctr.Exec) (int, error)
	attach  func(ctx context.Context, s ctr.Streams) error
	forward func(ctx context.Context, port uint16, client io.ReadWriteCloser) error
}

func (e *engine) Exec(ctx context.Context, _ string, x ctr.Exec) (int, error) { return e.exec(ctx, x) }

func (e *engine) AttachLossy(ctx context.Context, _ string, s ctr.Streams) error {
	return e.attach(ctx, s)
}

func (e *engine) Forward(ctx context.Context, _ string, port uint16, client io.ReadWriteCloser) error {
	return e.forward(ctx, port, client)
}

// serve serves e until the test ends, and then holds the process to as many
// goroutines as there were before.
func serve(t *testing.T, e *engine, o Options) (s *Server, stop func()) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	before := runtime.NumGoroutine()
	s, err := Listen(o, e, e)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the server does not stop")
		}
	}
	t.Cleanup(func() {
		stop()
		noMoreThan(t, before)
	})
	return s, stop
}

// noMoreThan waits for goroutines that are about to end.
func noMoreThan(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func execURL(t *testing.T, s *Server, r *runtimeapi.ExecRequest) string {
	t.Helper()
	r.ContainerId = "c"
	if r.Cmd == nil {
		r.Cmd = []string{"x"}
	}
	url, err := s.Exec(r)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// client is one end of a remote command or of forwarded ports.
type client struct {
	conn    httpstream.Connection
	streams map[string]httpstream.Stream

	raw net.Conn
	ws  *websocket.Conn
}

// connect upgrades to SPDY. Its connection is in raw.
func connect(t *testing.T, url, protocol string) *client {
	t.Helper()
	c := &client{streams: map[string]httpstream.Stream{}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, protocol)
	req.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	req.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	c.raw = dial(t, url)
	if err := req.Write(c.raw); err != nil {
		t.Fatal(err)
	}
	// Byte by byte: what follows the header is SPDY's.
	var header bytes.Buffer
	for !strings.HasSuffix(header.String(), "\r\n\r\n") {
		if _, err := io.CopyN(&header, c.raw, 1); err != nil {
			t.Fatalf("reading the answer: %v\n%s", err, header.String())
		}
	}
	if !strings.HasPrefix(header.String(), "HTTP/1.1 101 ") {
		t.Fatalf("not upgraded: %s", header.String())
	}
	c.conn, err = spdy.NewClientConnection(c.raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.raw.Close(); _ = c.conn.Close() })
	return c
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	host, secure := strings.CutPrefix(url, "https://")
	host = strings.TrimPrefix(host, "http://")
	host, _, _ = strings.Cut(host, "/")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return conn
}

func (c *client) create(t *testing.T, kind string, headers ...string) httpstream.Stream {
	t.Helper()
	h := http.Header{}
	h.Set("streamType", kind)
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	stream, err := c.conn.CreateStream(h)
	if err != nil {
		t.Fatal(err)
	}
	c.streams[kind] = stream
	return stream
}

// status reads how a remote command ended.
func (c *client) status(t *testing.T) status {
	t.Helper()
	return parseStatus(t, readAll(t, c.streams["error"]))
}

func parseStatus(t *testing.T, data []byte) status {
	t.Helper()
	var st status
	if err := json.Unmarshal(data, &st); err != nil {
		t.Fatalf("status %q: %v", data, err)
	}
	return st
}

func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := io.ReadAll(r)
		done <- result{data, err}
	}()
	select {
	case got := <-done:
		if got.err != nil {
			t.Fatal(got.err)
		}
		return got.data
	case <-time.After(10 * time.Second):
		t.Fatal("a stream does not end")
		return nil
	}
}

// connectWebSocket upgrades to a WebSocket.
func connectWebSocket(t *testing.T, url string, protocols ...string) *client {
	t.Helper()
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(url, "http"), url)
	if err != nil {
		t.Fatal(err)
	}
	config.Protocol = protocols
	c := &client{raw: dial(t, url)}
	c.ws, err = websocket.NewClient(config, c.raw)
	if err != nil {
		t.Fatal(err)
	}
	c.ws.PayloadType = websocket.BinaryFrame
	t.Cleanup(func() { _ = c.raw.Close() })
	return c
}

// send sends a message on a channel.
func (c *client) send(t *testing.T, channel byte, data string) {
	t.Helper()
	if err := websocket.Message.Send(c.ws, append([]byte{channel}, data...)); err != nil {
		t.Fatal(err)
	}
}

// messages reads until the connection ends, by channel.
func (c *client) messages(t *testing.T) map[byte]string {
	t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := map[byte]string{}
	for {
		var data []byte
		err := websocket.Message.Receive(c.ws, &data)
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got[data[0]] += string(data[1:])
	}
}
