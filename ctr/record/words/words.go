package words

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// Of has what a command prints go to two writers. Once it has run, or could not be
// started, end takes all that it printed, and for a while what comes from whoever else
// has its streams; the writers are not written to any more then.
func Of(cmd *exec.Cmd, stdout, stderr io.Writer) (end func(while time.Duration), err error) {
	out, err := into(stdout)
	if err != nil {
		return nil, err
	}
	errs, err := into(stderr)
	if err != nil {
		finish(0, out)
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out.in, errs.in
	return func(while time.Duration) { finish(while, out, errs) }, nil
}

// most is how many bytes are taken of a pipe when its time is over: what it can hold.
// Somebody may write for ever.
const most = 1 << 20

// pipe takes what is written into it.
type pipe struct {
	in   *os.File // the end to write into
	out  *os.File
	to   io.Writer
	done chan error
}

// into makes a pipe whose contents go to a writer, from a goroutine that finish ends.
func into(to io.Writer) (*pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &pipe{in: w, out: r, to: to, done: make(chan error, 1)}
	go func() {
		_, err := io.Copy(to, r)
		p.done <- err
	}()
	return p, nil
}

// finish takes all that was written until now, and for a while what comes from whoever
// else has the pipes.
func finish(while time.Duration, all ...*pipe) {
	until := time.Now().Add(while)
	for _, p := range all {
		_ = p.in.Close()
		_ = p.out.SetReadDeadline(until)
	}
	for _, p := range all {
		if err := <-p.done; errors.Is(err, os.ErrDeadlineExceeded) {
			Rest(p.out, p.to)
		}
		_ = p.out.Close()
	}
}

// Rest copies what a pipe or a terminal holds, whatever its read deadline, and waits for
// nothing.
func Rest(from *os.File, to io.Writer) {
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 16<<10)
	for left := most; left > 0; {
		var n int
		var rerr error
		// Control, not Read: Read would honour the deadline.
		if err := raw.Control(func(fd uintptr) { n, rerr = unix.Read(int(fd), buf) }); err != nil {
			return
		}
		if errors.Is(rerr, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		left -= n
	}
}
