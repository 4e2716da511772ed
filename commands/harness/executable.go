package harness

import (
	"os"
	"syscall"
)

// WriteExecutable writes a program or a script that may be run at once. While a
// child that another goroutine forks holds the file open for writing, until it
// executes, running it is refused (ETXTBSY of execve(2)): no child is forked
// meanwhile.
func WriteExecutable(path, text string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(text), 0o755)
}
