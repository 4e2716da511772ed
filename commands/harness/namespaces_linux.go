package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// insideEnv says that this process is the one that Enter started.
const insideEnv = "DAVIT_HARNESS_INSIDE=1"

// Inside reports whether this process was started by Enter.
func Inside() bool { return os.Getenv("DAVIT_HARNESS_INSIDE") == "1" }

// Enter runs this program again, with the same arguments, in network and IPC
// namespaces of its own in which lo is up, and returns its exit code. All ports
// are free there, and what it leaves in the firewall goes away with it.
func Enter(ctx context.Context) (int, error) {
	return enter(ctx, "", syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC)
}

// EnterWithRun is Enter in a mount namespace with an empty tmpfs on /run, where
// programs of all engines keep what a restart of the machine may take: as on any
// distribution, also where the machine has no such mount.
func EnterWithRun(ctx context.Context) (int, error) {
	return enter(ctx, "mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run &&",
		syscall.CLONE_NEWNET|syscall.CLONE_NEWIPC|syscall.CLONE_NEWNS)
}

func enter(ctx context.Context, prepare string, namespaces uintptr) (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("containers need root")
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding this program: %w", err)
	}
	script := prepare + ` PATH=$PATH:/usr/sbin:/sbin ip link set lo up && exec "$@"`
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, "sh", exe}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideEnv)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return ExitCode(exit.ProcessState), nil
	}
	return 0, err
}
