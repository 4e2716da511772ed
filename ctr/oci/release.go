package oci

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// fifoName is what an init of runc and of crun waits at for its start, in the
// container's folder below the runtime's root, as long as it has not been started: the
// runtimes tell by it, too, what was created from what runs.
const fifoName = "exec.fifo"

// releaseWait is how long an init may take to write into its FIFO once somebody reads.
const releaseWait = time.Second

// Release is Start for a container whose bundle is at hand. Of runc and crun it does
// itself what their start does, which is to let the init go on: a tenth of the time
// that the program takes. Where it cannot, or where more is to be done (a hook
// that runs after the start), the runtime does it, whose errors are the same as Start's.
func Release(ctx context.Context, r Runtime, id, bundle string) error {
	if lets(r, id, bundle) && ctx.Err() == nil {
		let, fifo := letWrite, filepath.Join(r.Root, id, fifoName)
		if isCrun(r) {
			let = letRead
		}
		if let(fifo) == nil {
			return nil
		}
	}
	return r.Start(ctx, id)
}

// lets tells whether a container of this runtime is known to need no more for its start
// than that its init goes on.
func lets(r Runtime, id, bundle string) bool {
	if r.Root == "" || !isCrun(r) && filepath.Base(r.Path) != "runc" {
		return false
	}
	fi, err := os.Lstat(filepath.Join(r.Root, id, fifoName))
	if err != nil || fi.Mode().Type() != os.ModeNamedPipe {
		return false
	}
	spec, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	return err == nil && !bytes.Contains(spec, []byte(`"poststart"`))
}

// letRead lets an init of crun go on, which waits for a byte. The FIFO goes first, as it
// does there: nobody starts a container twice.
func letRead(fifo string) error {
	fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err // of all, that nobody reads
	}
	defer unix.Close(fd)
	if err := os.Remove(fifo); err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte{0})
	return err
}

// letWrite lets an init of runc go on, which waits for somebody to read what it writes.
func letWrite(fifo string) error {
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(releaseWait); ; {
		_, err := unix.Poll(poll, int(time.Until(end).Milliseconds()))
		if !errors.Is(err, unix.EINTR) || !time.Now().Before(end) {
			break
		}
	}
	var b [1]byte
	n, err := unix.Read(fd, b[:])
	if n != 1 {
		return errors.Join(err, unix.EAGAIN)
	}
	return os.Remove(fifo)
}
