package netns

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Interface is what the kernel counts of a network interface.
type Interface struct {
	Name   string
	Rx, Tx Traffic
}

// Traffic is one direction of an Interface, since it was made.
type Traffic struct {
	Bytes, Packets, Errors, Dropped uint64
}

// Counters reads the interfaces of network namespaces, lo apart, in the order of
// their paths: one thread enters all of them. What cannot be read is nil.
func Counters(paths []string) [][]Interface {
	out := make([][]Interface, len(paths))
	if len(paths) == 0 {
		return out
	}
	buf := make([]byte, firstRead)
	_ = onThread(func() error {
		for i, path := range paths {
			if text, err := devIn(path, &buf); err == nil {
				out[i] = parseDev(string(text))
			}
		}
		return nil
	})
	return out
}

// firstRead holds the text of some dozen interfaces.
const firstRead = 4 << 10

// devIn reads proc_net(5)'s "dev" in a namespace, which it leaves the thread in.
func devIn(path string, buf *[]byte) ([]byte, error) {
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "opening", Path: path, Err: err}
	}
	err = unix.Setns(ns, unix.CLONE_NEWNET)
	_ = unix.Close(ns)
	if err != nil {
		return nil, fmt.Errorf("entering network namespace %s: %w", path, err)
	}
	fd, err := unix.Open("/proc/thread-self/net/dev", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "opening", Path: "net/dev", Err: err}
	}
	defer unix.Close(fd)
	n := 0
	for {
		if n == len(*buf) {
			*buf = append(*buf, make([]byte, n)...)
		}
		got, err := unix.Read(fd, (*buf)[n:])
		if err != nil {
			return nil, &os.PathError{Op: "reading", Path: "net/dev", Err: err}
		}
		if got == 0 {
			return (*buf)[:n], nil
		}
		n += got
	}
}

// parseDev reads two lines of headings and a line for each interface: its name,
// then eight numbers for each direction.
func parseDev(text string) []Interface {
	out := []Interface{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		name = strings.TrimSpace(name)
		if !ok || len(f) < 12 || name == "lo" {
			continue
		}
		n := func(i int) uint64 {
			v, _ := strconv.ParseUint(f[i], 10, 64) // the kernel writes numbers
			return v
		}
		out = append(out, Interface{
			Name: name,
			Rx:   Traffic{Bytes: n(0), Packets: n(1), Errors: n(2), Dropped: n(3)},
			Tx:   Traffic{Bytes: n(8), Packets: n(9), Errors: n(10), Dropped: n(11)},
		})
	}
	return out
}
