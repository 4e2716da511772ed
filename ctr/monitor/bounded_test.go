package monitor

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	stop := a.bound(t.Context(), limit, false)
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

// The end of the monitor is the end of the output, and not that it takes no clients.
func TestMonitorEnds(t *testing.T) {
	a, err := Connect(t.Context(), monitorSocket(t, func(c *net.UnixConn) { _, _ = c.Write([]byte("\x02out")) }))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	if err := a.Copy(t.Context(), Output{Stdout: io.Discard, Patience: time.Second}); err != nil {
		t.Errorf("Copy = %v", err)
	}
	if !a.accepted() {
		t.Error("a client whose monitor is gone has never been accepted")
	}
}

// The end of a process that has ended tells whether it had ended the output before.
func TestF44EndIsKept(t *testing.T) {
	for _, lost := range []bool{true, false} {
		t.Run(map[bool]string{true: "lost", false: "whole"}[lost], func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "attach")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEndedMonitor$")
			cmd.Env = append(os.Environ(), endedEnv+"="+path+map[bool]string{true: "!"}[lost])
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var a *Attachment
			for begin := time.Now(); a == nil && time.Since(begin) < 10*time.Second; time.Sleep(firstBound) {
				a, err = Connect(t.Context(), path)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = a.Close() }()
			stop := a.bound(t.Context(), time.Second, true)
			defer stop()
			for begin := time.Now(); !a.kept.Load() && time.Since(begin) < 10*time.Second; time.Sleep(firstBound) {
			}
			if err := errors.Join(in.Close(), cmd.Wait()); err != nil { // it ends only now
				t.Fatal(err)
			}
			var out strings.Builder
			err = a.read(t.Context(), nil, direct(Output{Stdout: &out}))
			if out.String() != "out" || errors.Is(err, ErrClientStuck) != lost || err != nil && !lost {
				t.Errorf("the output is %q, %v", &out, err)
			}
		})
	}
}

// endedEnv is the socket at which this program is the monitor of TestF44EndIsKept.
const endedEnv = "DAVIT_TEST_ENDED"

// TestEndedMonitor is not a test but that monitor: it writes to its first client, ends
// the output where it is told to, and exits when its stdin ends.
func TestEndedMonitor(t *testing.T) {
	path, lost := strings.CutSuffix(os.Getenv(endedEnv), "!")
	if path == "" {
		t.Skip("run by another test")
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("\x02out")); err != nil {
		t.Fatal(err)
	}
	if lost {
		err = errors.Join(c.CloseRead(), c.CloseWrite()) // as where the client has no more to say
	}
	if _, rerr := io.Copy(io.Discard, os.Stdin); err != nil || rerr != nil {
		t.Fatal(err, rerr)
	}
}
