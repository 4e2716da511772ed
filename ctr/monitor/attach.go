package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The first byte of a packet names its stream.
	streamStdout = 2
	streamStderr = 3
	// maxPacket is more than the monitor sends at once.
	maxPacket = 64 << 10
	// maxStdin is less than the monitor takes at once.
	maxStdin = 8 << 10
	// attachName is the socket's name in the bundle.
	attachName = "attach"
	// DefaultBuffer is how much output waits for a slow sink under Drop.
	DefaultBuffer = 1 << 20
)

// Policy says what becomes of output that its sink does not take.
type Policy int

const (
	// Block makes the container wait: for a foreground client who must see
	// everything.
	Block Policy = iota
	// Drop throws the newest output away once Buffer is full, so that a
	// client never holds the container up.
	Drop
)

// Output is where an attachment's output goes.
type Output struct {
	// Stdout and Stderr receive the streams; a nil one is thrown away. With a
	// terminal everything comes on Stdout.
	Stdout, Stderr io.Writer
	Policy         Policy
	// Patience is how long, under Block, a sink may take for one packet: then the
	// client is given up, with ErrClientStuck. 0 is for ever. It is also how long the
	// monitor waits for this process, which may be stopped.
	Patience time.Duration
	// Buffer bounds what waits under Drop, in bytes; 0 is DefaultBuffer.
	Buffer int
	// Dropped is told, under Drop, how many bytes were thrown away, between
	// the output before and after them; nil is not told.
	Dropped func(bytes int64)
	// Ended, when it closes, says that the container's exit is recorded:
	// whatever it wrote is in the socket then. What is there is copied, and
	// the copy ends. Nil waits for the monitor to close.
	Ended <-chan struct{}
}

// Attachment is a connection to a container's streams. Output, input and
// Resize may be used concurrently.
type Attachment struct {
	conn   *net.UnixConn
	bundle string
	// patience replaces acceptTimeout where it is not 0.
	patience time.Duration
	// kept is set where the monitor's end of the connection is kept, and gone is closed
	// when the monitor is gone then, see bound.
	kept atomic.Bool
	gone chan struct{}
}

// SocketPath is where the monitor of a bundle listens for attach clients.
func SocketPath(bundle string) string { return filepath.Join(bundle, attachName) }

// Connect connects to the monitor that listens at socketPath, see SocketPath.
// From now on the caller must read by Copy, or Close: the monitor waits for
// its clients. There is no history. A monitor that is gone is ErrMonitorGone.
func Connect(ctx context.Context, socketPath string) (*Attachment, error) {
	dir, name := filepath.Split(socketPath)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrMonitorGone
	case err != nil:
		return nil, fmt.Errorf("attaching to %q: %w", socketPath, err)
	}
	defer func() { _ = unix.Close(fd) }()
	short := "/proc/self/fd/" + strconv.Itoa(fd) + "/" + name
	conn, err := new(net.Dialer).DialContext(ctx, "unixpacket", short)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil, ErrMonitorGone
	case err != nil:
		return nil, fmt.Errorf("attaching to %q: %w", socketPath, err)
	}
	return &Attachment{conn: conn.(*net.UnixConn), bundle: filepath.Dir(socketPath), gone: make(chan struct{})}, nil
}

// Write sends input to the container's stdin. It waits while the container does
// not read.
func (a *Attachment) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := a.conn.Write(p[done:min(len(p), done+maxStdin)])
		done += n
		if err != nil {
			if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				err = ErrMonitorGone
			}
			return done, err
		}
	}
	return done, nil
}

// CloseStdin ends the input: the container reads what was sent, and then its
// end, where its stdin was made with StdinOnce.
func (a *Attachment) CloseStdin() error {
	if err := a.conn.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		return fmt.Errorf("closing stdin: %w", err)
	}
	return nil
}

// Resize sets the terminal's size, see [Resize].
func (a *Attachment) Resize(width, height uint16) error { return Resize(a.bundle, width, height) }

// Close ends the attachment; the container goes on.
func (a *Attachment) Close() error { return a.conn.Close() }

// Copy copies the output until its end, and returns nil then; or until ctx
// ends, or a sink fails under Block, or is out of its time there: that Write is
// left alone. A sink that fails under Drop is given up alone. A monitor that does not
// take the client in ten seconds is ErrMonitorSilent.
func (a *Attachment) Copy(ctx context.Context, out Output) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if errors.Is(context.Cause(ctx), ErrMonitorSilent) {
			err = ErrMonitorSilent
		}
	}()
	defer a.watchAccept(ctx, func() { cancel(ErrMonitorSilent) })()
	stop := context.AfterFunc(ctx, func() { _ = a.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if out.Ended != nil {
		stopEnded := a.interruptAt(out.Ended)
		defer stopEnded()
	}
	switch {
	case out.Policy == Drop:
		defer a.bound(ctx, dropBound, out.Ended != nil)()
		deliver, finish := buffered(ctx, out)
		err = a.read(ctx, out.Ended, deliver)
		return errors.Join(err, finish())
	case out.Patience > 0:
		defer a.bound(ctx, out.Patience, out.Ended != nil)()
		return patient(ctx, out, func(deliver delivery) error { return a.read(ctx, out.Ended, deliver) })
	}
	return a.read(ctx, out.Ended, direct(out))
}

// delivery takes a packet of a stream.
type delivery func(stream byte, p []byte) error

// interruptAt wakes the reader when ended closes.
func (a *Attachment) interruptAt(ended <-chan struct{}) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-ended:
			_ = a.conn.SetReadDeadline(time.Unix(1, 0))
		case <-quit:
		}
	})
	return func() { close(quit); wg.Wait() }
}

// read hands packets to deliver until the end.
func (a *Attachment) read(ctx context.Context, ended <-chan struct{}, deliver delivery) error {
	buf := make([]byte, maxPacket)
	for {
		n, err := a.conn.Read(buf)
		switch {
		case n > 0:
			if err := deliver(buf[0], buf[1:n]); err != nil {
				return err
			}
		case errors.Is(err, io.EOF) && a.lostTouch():
			return ErrClientStuck
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if ctx.Err() != nil {
				return ctx.Err()
			}
			select {
			case <-ended:
				return a.readRest(buf, deliver)
			case <-a.gone:
				return a.readRest(buf, deliver)
			default:
			}
		case err != nil:
			return fmt.Errorf("reading output: %w", err)
		}
	}
}

// readRest reads what the socket holds, without waiting.
func (a *Attachment) readRest(buf []byte, deliver delivery) error {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return nil
	}
	for {
		n := 0
		// Control, not Read, which would honour the deadline.
		err := raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) })
		switch {
		case err == nil && n == 0 && a.lostTouch():
			return ErrClientStuck
		case err != nil || n <= 0:
			return nil
		}
		if err := deliver(buf[0], buf[1:n]); err != nil {
			return err
		}
	}
}

func (o Output) sink(stream byte) io.Writer {
	switch stream {
	case streamStdout:
		return o.Stdout
	case streamStderr:
		return o.Stderr
	default:
		return nil
	}
}

// ErrClientStuck says that a client did not take the output in time and was given
// up, so that the container goes on: it has lost what came after that.
var ErrClientStuck = fmt.Errorf("the output was not taken in time, and the container goes on, or has ended, without this client: %w", context.DeadlineExceeded)

// patient has read write each packet as it comes, and waits for a while only.
func patient(ctx context.Context, out Output, read func(delivery) error) error {
	const idle, writing, given = 0, 1, 2
	var state atomic.Int32 // given up, a Write that is left alone is the last one
	write := direct(out)
	stuck, ended := make(chan struct{}), make(chan error, 1)
	timer := time.AfterFunc(math.MaxInt64, sync.OnceFunc(func() { close(stuck) }))
	defer timer.Stop()
	go func() {
		ended <- read(func(stream byte, p []byte) error {
			if !state.CompareAndSwap(idle, writing) {
				return ErrClientStuck
			}
			timer.Reset(out.Patience)
			err := write(stream, p)
			timer.Stop()
			if !state.CompareAndSwap(writing, idle) {
				return ErrClientStuck
			}
			return err
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-stuck:
		state.Store(given)
		return ErrClientStuck
	case <-ctx.Done():
	}
	if state.Swap(given) == idle { // it reads, until ctx wakes it
		if err := <-ended; !errors.Is(err, ErrClientStuck) {
			return err
		}
	}
	return ctx.Err()
}

// direct writes each packet as it comes.
func direct(out Output) delivery {
	return func(stream byte, p []byte) error {
		if w := out.sink(stream); w != nil && len(p) > 0 {
			_, err := w.Write(p)
			return err
		}
		return nil
	}
}
