package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/netw/netns"
)

// dialTimeout bounds a connection to a port inside a sandbox: it never leaves
// the machine, but a full backlog may keep it waiting.
const dialTimeout = 10 * time.Second

// Forwardable returns the full ID of one of the kubelet's sandboxes if its ports can be
// forwarded now, and ErrFailedPrecondition if it is not ready or has no network
// of its own.
func (c *records) Forwardable(ctx context.Context, id string) (string, error) {
	s, err := c.GetSandbox(ctx, id)
	if err == nil {
		_, err = s.network()
	}
	return s.ID, err
}

// network is the path of a ready pod's network namespace; empty is the host's.
func (s Sandbox) network() (string, error) {
	switch {
	case s.Status.State != Ready:
		return "", fmt.Errorf("pod %q is %s, not ready: %w", s.Config.Name, s.Status.State, errdefs.ErrFailedPrecondition)
	case s.Config.Network.Mode == NetworkHost:
		return "", nil
	case s.Status.Namespaces.Net == "":
		return "", fmt.Errorf("pod %q has no network that its containers share: %w", s.Config.Name, errdefs.ErrFailedPrecondition)
	}
	return s.Status.Namespaces.Net, nil
}

// Forward connects client to a TCP port inside the pod, on 127.0.0.1 or else
// ::1, and copies both ways until both directions have ended or ctx has. The end
// of one direction is passed on and leaves the other alone: the client's is told
// by io.EOF, the port's by calling client.Close, after which client must still
// read. Reading from client and writing to it must end when ctx has. What the client sends to a port that takes no more is read and dropped.
// The error says that the port could not be connected to (ErrUnavailable) or that
// the pod is not ready (ErrFailedPrecondition), never that a connection was cut.
func (c *records) Forward(ctx context.Context, id string, port uint16, client io.ReadWriteCloser) error {
	s, err := c.GetSandbox(ctx, id)
	if err != nil {
		return err
	}
	path, err := s.network()
	if err != nil {
		return err
	}
	conn, err := dialIn(ctx, path, port)
	if err != nil {
		return fmt.Errorf("connecting to port %d of pod %q: %w", port, id, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := io.Copy(conn, client); err != nil {
			_, _ = io.Copy(io.Discard, client)
		}
		_ = conn.CloseWrite()
	}()
	_, _ = io.Copy(client, conn)
	_ = client.Close()
	<-sent
	return nil
}

// dialIn connects to a port on the loopback of a network namespace.
func dialIn(ctx context.Context, path string, port uint16) (conn *net.TCPConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dial := func() error {
		var errs []error
		for _, host := range []string{"127.0.0.1", "::1"} {
			// With an address, and no name, the socket is made on this thread.
			c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
			if err == nil {
				conn = c.(*net.TCPConn)
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	if path == "" {
		err = dial()
	} else {
		err = netns.Do(path, dial)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = fmt.Errorf("%w: nothing listens there: %w", errdefs.ErrUnavailable, err)
	}
	return conn, err
}
