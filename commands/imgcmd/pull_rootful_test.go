//go:build rootful

package imgcmd

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// TestPullInterrupted interrupts a pull from a registry that never answers: it
// ends at once, silently, with the signal's exit code.
func TestPullInterrupted(t *testing.T) {
	davit := harness.TestDavit(t)
	for _, tt := range []struct {
		signal syscall.Signal
		want   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			connected, done := make(chan struct{}), make(chan struct{})
			go func() { // holds one connection open until the test ends
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					return
				}
				close(connected)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
			var stdout, stderr bytes.Buffer
			cmd := davit.Command(t.Context(), "pull", "-q", "--tls-verify=false", l.Addr().String()+"/busybox")
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-connected:
			case <-time.After(20 * time.Second):
				t.Error("davit does not connect to the registry")
			}
			began := time.Now()
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				if _, ok := err.(*exec.ExitError); !ok {
					t.Error(err)
				}
			}
			if got := harness.ExitCode(cmd.ProcessState); got != tt.want {
				t.Errorf("exit code %d, want %d", got, tt.want)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s to end", took)
			}
			if stdout.Len()+stderr.Len() > 0 {
				t.Errorf("it says %q and %q", stdout.String(), stderr.String())
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
}
