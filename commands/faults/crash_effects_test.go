//go:build (faults || faultslong) && amd64

package faults

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// effect is a call that may be a side effect.
type effect struct {
	name string
	// on tells what a thread changes by a call with these arguments, as far as that is
	// known, and whether it changes anything.
	on func(tid int, args [6]uint64) (object string, changes bool)
}

// effects are the calls that make mounts, names, folders and processes.
func effects() map[uint64]effect {
	return map[uint64]effect{
		unix.SYS_MOUNT: {"mount", pathAt(1)}, unix.SYS_UMOUNT2: {"umount2", pathAt(0)}, unix.SYS_MOVE_MOUNT: {"move_mount", pathAt(3)},
		unix.SYS_RENAME: {"rename", pathAt(1)}, unix.SYS_RENAMEAT: {"renameat", pathAt(3)}, unix.SYS_RENAMEAT2: {"renameat2", pathAt(3)},
		unix.SYS_LINK: {"link", pathAt(1)}, unix.SYS_LINKAT: {"linkat", pathAt(3)},
		unix.SYS_SYMLINK: {"symlink", pathAt(1)}, unix.SYS_SYMLINKAT: {"symlinkat", pathAt(2)},
		unix.SYS_MKDIR: {"mkdir", pathAt(0)}, unix.SYS_MKDIRAT: {"mkdirat", pathAt(1)},
		unix.SYS_EXECVE: {"execve", pathAt(0)}, unix.SYS_EXECVEAT: {"execveat", pathAt(1)},
		unix.SYS_CLONE: {"clone", newProcess}, unix.SYS_CLONE3: {"clone3", something}, unix.SYS_FORK: {"fork", something}, unix.SYS_VFORK: {"vfork", something},
	}
}

// fineEffects are those that make, change or remove no more than a file, or that end
// or move a process.
func fineEffects() map[uint64]effect {
	return map[uint64]effect{
		unix.SYS_OPEN: {"open", opened(0)}, unix.SYS_OPENAT: {"openat", opened(1)}, unix.SYS_CREAT: {"creat", pathAt(0)},
		unix.SYS_MKNOD: {"mknod", pathAt(0)}, unix.SYS_MKNODAT: {"mknodat", pathAt(1)},
		unix.SYS_WRITE: {"write", written}, unix.SYS_PWRITE64: {"pwrite64", written},
		unix.SYS_UNLINK: {"unlink", pathAt(0)}, unix.SYS_UNLINKAT: {"unlinkat", pathAt(1)}, unix.SYS_RMDIR: {"rmdir", pathAt(0)},
		unix.SYS_PIVOT_ROOT: {"pivot_root", pathAt(0)}, unix.SYS_SETNS: {"setns", something}, unix.SYS_UNSHARE: {"unshare", something},
		unix.SYS_KILL: {"kill", something}, unix.SYS_EXIT_GROUP: {"exit_group", something},
	}
}

func something(int, [6]uint64) (string, bool) { return "", true }

// pathAt is for calls whose argument n is the path of what they change.
func pathAt(n int) func(int, [6]uint64) (string, bool) {
	return func(tid int, args [6]uint64) (string, bool) { return text(tid, args[n]), true }
}

// opened is for those that make the file whose path is argument n if they are told to.
func opened(n int) func(int, [6]uint64) (string, bool) {
	return func(tid int, args [6]uint64) (string, bool) { return text(tid, args[n]), args[n+1]&unix.O_CREAT != 0 }
}

// newProcess is for clone, which makes threads, too.
func newProcess(_ int, args [6]uint64) (string, bool) { return "", args[0]&unix.CLONE_THREAD == 0 }

// written is for writes to a file: not to a pipe, nor to what ends with the process.
func written(tid int, args [6]uint64) (string, bool) {
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(args[0])))
	for _, other := range []string{"/dev/", "/proc/", "/memfd:"} {
		if strings.HasPrefix(file, other) {
			return "", false
		}
	}
	return file, err == nil && strings.HasPrefix(file, "/")
}

// text reads a string of a thread's memory.
func text(tid int, address uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", tid))
	if err != nil {
		return "?"
	}
	defer memory.Close()
	b := make([]byte, 256)
	n, _ := memory.ReadAt(b, int64(address)) // what follows it may be nobody's
	s, _, _ := bytes.Cut(b[:n], []byte{0})
	return string(s)
}
