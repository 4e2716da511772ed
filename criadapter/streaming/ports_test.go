package streaming

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// echo answers on port 7 with what it gets, says goodbye when that ends, and
// refuses other ports.
func echo(_ context.Context, port uint16, client io.ReadWriteCloser) error {
	if port != 7 {
		return errors.New("refused")
	}
	_, err := io.Copy(client, client)
	_, _ = io.WriteString(client, " bye")
	return errors.Join(err, client.Close())
}

func portsURL(t *testing.T, s *Server, ports ...int32) string {
	t.Helper()
	url, err := s.PortForward(&runtimeapi.PortForwardRequest{PodSandboxId: "p", Port: ports})
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// forward opens a connection to a port.
func (c *client) forward(t *testing.T, port, request int) (data, fault httpstream.Stream) {
	t.Helper()
	headers := []string{"port", strconv.Itoa(port), "requestID", strconv.Itoa(request)}
	fault = c.create(t, "error", headers...)
	_ = fault.Close()
	return c.create(t, "data", headers...), fault
}

// forwardRefused is forward to a port that nobody listens on: the server may take
// the data stream back before its opening was answered.
func (c *client) forwardRefused(t *testing.T, port, request int) (fault httpstream.Stream) {
	t.Helper()
	headers := []string{"port", strconv.Itoa(port), "requestID", strconv.Itoa(request)}
	fault = c.create(t, "error", headers...)
	_ = fault.Close()
	_, _ = c.conn.CreateStream(http.Header{"Streamtype": {"data"}, "Port": {headers[1]}, "Requestid": {headers[3]}})
	return fault
}

// TestPorts forwards connections by SPDY, bare and inside of a WebSocket: one
// that is refused is told, and leaves the others alone.
func TestPorts(t *testing.T) {
	s, _ := serve(t, &engine{forward: echo}, Options{})
	for _, tunnelled := range []bool{false, true} {
		t.Run(fmt.Sprintf("tunnelled %v", tunnelled), func(t *testing.T) {
			var c *client
			if tunnelled {
				c = connectWebSocket(t, portsURL(t, s), portforward.WebsocketsSPDYTunnelingPortForwardV1)
				conn, err := spdy.NewClientConnection(c.ws)
				if err != nil {
					t.Fatal(err)
				}
				c.conn, c.streams = conn, map[string]httpstream.Stream{}
			} else {
				c = connect(t, portsURL(t, s), portforward.ProtocolV1Name)
			}
			first, _ := c.forward(t, 7, 0)
			fault := c.forwardRefused(t, 8, 1)
			if got := string(readAll(t, fault)); !strings.Contains(got, "refused") {
				t.Errorf("port 8: %q", got)
			}
			second, fault := c.forward(t, 7, 2)
			for _, stream := range []httpstream.Stream{first, second} {
				_, _ = io.WriteString(stream, "hello")
				_ = stream.Close()
				if got := string(readAll(t, stream)); got != "hello bye" {
					t.Errorf("port 7: %q", got)
				}
			}
			if got := string(readAll(t, fault)); got != "" {
				t.Errorf("port 7: error %q", got)
			}
			_ = c.conn.Close()
		})
	}
}

// TestPortsWebSocket forwards one connection to each port that the call named.
func TestPortsWebSocket(t *testing.T) {
	s, _ := serve(t, &engine{forward: func(_ context.Context, port uint16, client io.ReadWriteCloser) error {
		if port != 7 {
			return errors.New("refused")
		}
		_, _ = io.CopyN(client, client, 5)
		return nil
	}}, Options{})
	c := connectWebSocket(t, portsURL(t, s, 7, 8), "v4.channel.k8s.io")
	c.send(t, 0, "hello")
	got := c.messages(t)
	prefix := func(port uint16) string { return string(binary.LittleEndian.AppendUint16(nil, port)) }
	if got[0] != prefix(7)+"hello" || got[1] != prefix(7) || got[2] != prefix(8) || !strings.Contains(got[3], "refused") {
		t.Errorf("got %q", got)
	}
}

// TestPortsClientGoes: connections end with their client.
func TestPortsClientGoes(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	s, _ := serve(t, &engine{forward: func(ctx context.Context, _ uint16, _ io.ReadWriteCloser) error {
		close(began)
		<-ctx.Done()
		close(ended)
		return nil
	}}, Options{})
	c := connect(t, portsURL(t, s), portforward.ProtocolV1Name)
	c.forward(t, 7, 0)
	<-began
	_ = c.raw.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it was not told")
	}
}

// TestTLS serves in TLS alone.
func TestTLS(t *testing.T) {
	s, _ := serve(t, &engine{exec: cat}, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}})
	r := &runtimeapi.ExecRequest{Stdin: true, Stdout: true, Stderr: true}
	url := execURL(t, s, r)
	if !strings.HasPrefix(url, "https://") {
		t.Fatalf("URL %s", url)
	}
	c := connect(t, url, v4)
	for _, kind := range []string{"error", "stdin", "stdout", "stderr"} {
		c.create(t, kind)
	}
	_, _ = io.WriteString(c.streams["stdin"], "hello")
	_ = c.streams["stdin"].Close()
	if got := string(readAll(t, c.streams["stdout"])); got != "hello" {
		t.Errorf("stdout %q", got)
	}
	plain := dial(t, "http://"+strings.TrimPrefix(execURL(t, s, r), "https://"))
	defer func() { _ = plain.Close() }()
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\n\r\n")
	if got := string(readAll(t, plain)); !strings.Contains(got, "400") {
		t.Errorf("in the clear: %q", got)
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
