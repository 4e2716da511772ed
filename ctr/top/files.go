package top

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
)

// Files counts what processes have open: all their file descriptors, and which of
// them are sockets. A process that has ended meanwhile counts nothing.
func Files(pids []int) (fds, sockets uint64) {
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		for {
			names, err := f.Readdirnames(512)
			for _, name := range names {
				fds++
				if target, err := os.Readlink(dir + "/" + name); err == nil && strings.HasPrefix(target, "socket:") {
					sockets++
				}
			}
			if err != nil {
				break
			}
		}
		_ = f.Close()
	}
	return fds, sockets
}

// maxLimits bounds what is read of proc(5)'s limits.
const maxLimits = 8 << 10

// OpenFiles is a process's soft limit of open files; false if it is unlimited or
// the process is gone.
func OpenFiles(pid int) (soft uint64, ok bool) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	buf := make([]byte, maxLimits)
	n, err := io.ReadFull(f, buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, false
	}
	return parseOpenFiles(string(buf[:n]))
}

func parseOpenFiles(text string) (soft uint64, ok bool) {
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, "Max open files")
		if f := strings.Fields(rest); found && len(f) > 0 {
			n, err := strconv.ParseUint(f[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
