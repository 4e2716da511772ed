package staging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	dirPrefix  = "temp-dir-"
	lockPrefix = "lock-"
)

// Watch records what happens in folders that hold temporary folders and their
// locks. It is not for several goroutines.
type Watch struct{ fd int }

// Begin watches the folders, which it makes where they are missing.
func Begin(folders ...string) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watching temporary layers: %w", err)
	}
	for _, f := range folders {
		err := os.MkdirAll(f, 0o700) // as the store makes it
		if err == nil {
			_, err = unix.InotifyAddWatch(fd, f, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_FROM)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watching temporary layers in %s: %w", f, err), unix.Close(fd))
		}
	}
	return &Watch{fd}, nil
}

// End ends the watch, and says whether since Begin a temporary folder, of whichever
// process, may have been without its guard. It says so too when there was more to
// record than the kernel keeps.
func (w *Watch) End() (unguarded bool, err error) {
	events, overflow, err := read(w.fd)
	if err := errors.Join(err, unix.Close(w.fd)); err != nil {
		return true, fmt.Errorf("watching temporary layers: %w", err)
	}
	return overflow || anyUnguarded(events), nil
}

// event is that a name came or went.
type event struct {
	name string
	gone bool
}

// read empties the queue of events (inotify(7)).
func read(fd int) (events []event, overflow bool, err error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return events, overflow, nil
		case err != nil:
			return nil, false, err
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			mask := binary.NativeEndian.Uint32(rest[4:])
			length := int(binary.NativeEndian.Uint32(rest[12:]))
			name := rest[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+length]
			name, _, _ = bytes.Cut(name, []byte{0})
			overflow = overflow || mask&unix.IN_Q_OVERFLOW != 0
			events = append(events, event{string(name), mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0})
			rest = rest[unix.SizeofInotifyEvent+length:]
		}
	}
}

// anyUnguarded says whether a lock went before its folder: the store takes the
// folder away first.
func anyUnguarded(events []event) bool {
	folders, unlocked := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		if x, ok := strings.CutPrefix(e.name, dirPrefix); ok {
			folders[x] = !e.gone
			if !e.gone && unlocked[x] {
				return true
			}
		}
		if x, ok := strings.CutPrefix(e.name, lockPrefix); ok {
			unlocked[x] = e.gone
			if e.gone && folders[x] {
				return true
			}
		}
	}
	return false
}
