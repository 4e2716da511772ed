package monitor

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A monitor, whose writes block, is held up by a client that does not read, as one
// that is stopped, for as long as was set, and the client learns of that.
func TestF44MonitorIsNotHeldUp(t *testing.T) {
	const limit = 300 * time.Millisecond
	type held struct {
		took time.Duration
		err  error
	}
	result := make(chan held, 1)
	leave := make(chan struct{})
	defer close(leave)
	path := monitorSocket(t, func(c *net.UnixConn) {
		file, err := c.File() // of the same socket
		if err == nil {
			err = unix.SetNonblock(int(file.Fd()), false)
		}
		if err != nil {
			result <- held{0, err}
			return
		}
		defer func() { _ = file.Close() }()
		packet := append([]byte{streamStdout}, make([]byte, 8000)...)
		time.Sleep(20 * firstBound) // it is let write when the limit is set
		for err == nil {
			began := time.Now()
			if _, err = unix.Write(int(file.Fd()), packet); err != nil {
				result <- held{time.Since(began), err}
			}
		}
		_ = unix.Shutdown(int(file.Fd()), unix.SHUT_WR)
		<-leave
	})
	a, err := Connect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	stop := a.bound(t.Context(), limit)
	defer stop()
	select {
	case h := <-result:
		if !errors.Is(h.err, unix.EAGAIN) || h.took < limit/2 || h.took > 10*limit {
			t.Errorf("the monitor was held up for %s: %v", h.took, h.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the monitor is held up for good")
	}
	if err := a.Copy(t.Context(), Output{Stdout: io.Discard, Patience: limit}); !errors.Is(err, ErrClientStuck) {
		t.Errorf("Copy = %v", err)
	}
}

// The end of the monitor is the end of the output.
func TestMonitorEnds(t *testing.T) {
	a, err := Connect(t.Context(), monitorSocket(t, func(c *net.UnixConn) { _, _ = c.Write([]byte("\x02out")) }))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	if err := a.Copy(t.Context(), Output{Stdout: io.Discard, Patience: time.Second}); err != nil {
		t.Errorf("Copy = %v", err)
	}
}
