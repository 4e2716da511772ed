package oci

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

// fifoName is what an init of runc and of crun waits at for its start, in the
// container's folder below the runtime's root, as long as it has not been started: the
// runtimes tell by it, too, what was created from what runs.
const fifoName = "exec.fifo"

// releaseWait is how long an init that lives may take to write into its FIFO once
// somebody reads, on a machine that is busy.
const releaseWait = 10 * time.Second

// Release is Start for a container whose bundle is at hand. Of runc and crun it does
// itself what their start does, which is to let the init go on: a tenth of the time
// that the program takes. Where it cannot, as init is dead, or where more is to be done
// (a hook that runs after the start), the runtime does it, whose errors are the same as
// Start's.
func Release(ctx context.Context, r Runtime, id, bundle string, init record.Process) error {
	if lets(r, id, bundle) && ctx.Err() == nil {
		fifo := filepath.Join(r.Root, id, fifoName)
		let := func() error { return letWrite(ctx, fifo, init) }
		if isCrun(r) {
			let = func() error { return letRead(fifo) }
		}
		if let() == nil {
			return nil
		}
	}
	return r.Start(ctx, id)
}

// lets tells whether a container of this runtime is known to need no more for its start
// than that its init goes on.
func lets(r Runtime, id, bundle string) bool {
	if r.Root == "" || !isCrun(r) && !isRunc(r) {
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

// isRunc tells whether a runtime is runc, and no link to another that is to look so.
func isRunc(r Runtime) bool {
	path, err := exec.LookPath(r.Path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	return err == nil && filepath.Base(r.Path) == "runc" && filepath.Base(path) == "runc"
}

// letWrite lets an init of runc go on, which waits for somebody to read what it writes:
// whoever has begun to read must stay, or init dies of it.
func letWrite(ctx context.Context, fifo string, init record.Process) error {
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for pause := 50; ctx.Err() == nil; {
		n, err := unix.Poll(poll, pause)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) || !init.Alive() {
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
