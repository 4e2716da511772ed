package harness

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenPTY opens a pseudo terminal of the given size: what is written to the
// first file is typed, what is read from it is on the screen, and the second
// is the terminal that a program is given. The caller closes both.
func OpenPTY(rows, columns uint16) (screen, terminal *os.File, err error) {
	screen, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a pseudo terminal: %w", err)
	}
	defer func() {
		if err != nil {
			_ = screen.Close()
		}
	}()
	// Fd would make the file block, and reads of it survive a Close.
	raw, err := screen.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("opening a pseudo terminal: %w", err)
	}
	var n uint32
	var failed error
	err = raw.Control(func(fd uintptr) { n, failed = unlockPTY(int(fd), rows, columns) })
	if err = errors.Join(err, failed); err != nil {
		return nil, nil, err
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	return screen, terminal, nil
}

func unlockPTY(fd int, rows, columns uint16) (number uint32, err error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return 0, fmt.Errorf("unlocking a pseudo terminal: %w", err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		return 0, fmt.Errorf("sizing a pseudo terminal: %w", err)
	}
	number, err = unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		return 0, fmt.Errorf("asking for a pseudo terminal's number: %w", err)
	}
	return number, nil
}
