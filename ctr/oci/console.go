package oci

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// console receives the master of a pty that a runtime made, over a unix socket
// (runtime-spec has no words for it; runc's docs/terminals.md does).
type console struct {
	// path is what the runtime is told: it goes through this process's
	// descriptor of the folder, so that it is short whatever the folder's
	// name is (sun_path has 108 bytes).
	path     string
	real     string
	dir      *os.File
	listener *net.UnixListener

	mu     sync.Mutex
	master *os.File
}

const consoleName = "tty.sock"

func listenConsole(dir string) (*console, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %q: %w", dir, err)
	}
	c := &console{dir: os.NewFile(uintptr(fd), dir), real: filepath.Join(dir, consoleName)}
	_ = os.Remove(c.real)
	c.path = filepath.Join("/proc", strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(fd), consoleName)
	c.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: c.path, Net: "unix"})
	if err != nil {
		_ = c.dir.Close()
		return nil, fmt.Errorf("listening for a terminal: %w", err)
	}
	return c, nil
}

// accept takes the pty's master. The runtime has sent it before it left. ctx has a
// deadline.
func (c *console) accept(ctx context.Context) (*os.File, error) {
	deadline, _ := ctx.Deadline()
	if err := c.listener.SetDeadline(deadline); err != nil {
		return nil, err
	}
	conn, err := c.listener.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, fmt.Errorf("receiving a terminal: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) == 0 {
		return nil, fmt.Errorf("receiving a terminal: no descriptor came: %w", os.ErrInvalid)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) == 0 {
		return nil, fmt.Errorf("receiving a terminal: no descriptor came: %w", os.ErrInvalid)
	}
	unix.CloseOnExec(fds[0])
	// Non-blocking before NewFile, so that deadlines work on it.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_ = unix.Close(fds[0])
		return nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "pty")
	c.mu.Lock()
	c.master = f
	c.mu.Unlock()
	return f, nil
}

// interrupt wakes the reader of the master.
func (c *console) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.master != nil {
		_ = c.master.SetReadDeadline(time.Now())
	}
}

func (c *console) close() {
	_ = c.listener.Close()
	_ = os.Remove(c.real)
	_ = c.dir.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.master != nil {
		_ = c.master.Close()
	}
}

// startTerminal relays the pty in both directions and follows the sizes.
func (e *execution) startTerminal(master *os.File) {
	setONLCR(master)
	if s := e.cfg.Process.ConsoleSize; s != nil {
		setSize(master, Size{Width: uint16(s.Width), Height: uint16(s.Height)})
	}
	e.copying.Go(func() { drain(master, e.cfg.Streams.Stdout, e.exited) })
	if e.cfg.Streams.Stdin != nil {
		// A terminal has no half-close; the end of input is ^D.
		go copyIn(master, e.cfg.Streams.Stdin, []byte{4})
	}
	if e.cfg.Streams.Resize != nil {
		e.copying.Go(func() {
			for {
				select {
				case s, ok := <-e.cfg.Streams.Resize:
					if !ok {
						return
					}
					setSize(master, s)
				case <-e.exited:
					return
				}
			}
		})
	}
}

// setSize sets the terminal's size. It only fails when the pty is gone.
func setSize(master *os.File, s Size) {
	if s.Width == 0 || s.Height == 0 {
		return
	}
	withFd(master, func(fd int) {
		_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Height, Col: s.Width})
	})
}

// setONLCR makes \n a line's end on the client's side, as monitors do: runtimes
// clear it.
func setONLCR(master *os.File) {
	withFd(master, func(fd int) {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return
		}
		t.Oflag |= unix.ONLCR
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})
}

func withFd(f *os.File, do func(fd int)) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { do(int(fd)) })
}
