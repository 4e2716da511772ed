package words

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// most is how many bytes are taken of a pipe when its time is over: what it can hold.
// Somebody may write for ever.
const most = 1 << 20

// Pipe takes what is written into it.
type Pipe struct {
	In   *os.File // the end to write into
	out  *os.File
	to   io.Writer
	done chan error
}

// Into makes a pipe whose contents go to a writer, from a goroutine that End ends.
func Into(to io.Writer) (*Pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &Pipe{In: w, out: r, to: to, done: make(chan error, 1)}
	go func() {
		_, err := io.Copy(to, r)
		p.done <- err
	}()
	return p, nil
}

// End takes all that was written until now, and for a while what comes from whoever
// else has the pipes. The writers are not written to any more when it returns.
func End(while time.Duration, all ...*Pipe) {
	until := time.Now().Add(while)
	for _, p := range all {
		_ = p.In.Close()
		_ = p.out.SetReadDeadline(until)
	}
	for _, p := range all {
		if err := <-p.done; errors.Is(err, os.ErrDeadlineExceeded) {
			p.rest()
		}
		_ = p.out.Close()
	}
}

// rest takes what the pipe holds, and waits for nothing.
func (p *Pipe) rest() {
	raw, err := p.out.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		buf := make([]byte, 16<<10)
		for left := most; left > 0; {
			n, err := unix.Read(int(fd), buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n <= 0 || err != nil {
				return
			}
			if _, err := p.to.Write(buf[:n]); err != nil {
				return
			}
			left -= n
		}
	})
}
