package confine

import "golang.org/x/sys/unix"

// x32Bit marks the calls of the x32 ABI, see __X32_SYSCALL_BIT of asm/unistd.h.
const x32Bit = 0x40000000

// NoX32 says that this kernel is known to have no x32 calls: its configuration
// has no CONFIG_X86_X32_ABI, or syscall.x32 is off. Under a filter of its own a
// process does not find out, as the question could be what kills it.
func NoX32() bool {
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	if err != nil || mode != 0 {
		return false
	}
	_, _, errno := unix.RawSyscall(x32Bit|unix.SYS_GETPID, 0, 0, 0)
	return errno == unix.ENOSYS
}
