package harness

import (
	"os/exec"
	"runtime"
)

// startOnOwnThread starts cmd from a thread that lives as long as it: a parent
// death signal is sent when the thread ends, not the process (prctl(2),
// PR_SET_PDEATHSIG). ended is closed when cmd has ended and was waited for.
func startOnOwnThread(cmd *exec.Cmd, ended chan<- struct{}) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(ended)
		}
	}()
	return <-started
}
