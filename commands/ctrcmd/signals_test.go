package ctrcmd

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestStoppedCatcher: once no more signals are passed on, those that ask davit to end
// do so again, and no other one does; all of them are not given back one by one, which
// would take long.
func TestStoppedCatcher(t *testing.T) {
	const inside = "DAVIT_TEST_CATCHER"
	if os.Getenv(inside) == "1" {
		catch(proxied(), func(s syscall.Signal) { os.Exit(int(s)) }).stop()
		_, _ = os.Stdout.WriteString("x")
		time.Sleep(10 * time.Second)
		return
	}
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStoppedCatcher$")
		self.Env = append(os.Environ(), inside+"=1")
		out, err := self.StdoutPipe()
		if err == nil {
			err = self.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGALRM, s} {
			if err := self.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
		var exit *exec.ExitError
		if err := self.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != s {
			t.Errorf("%s does not end it: %v", s, err)
		}
	}
	var stops, each []time.Duration
	for range 20 {
		c := catch(proxied(), func(syscall.Signal) {})
		began := time.Now()
		c.stop()
		stops = append(stops, time.Since(began))
		began = time.Now()
		signal.Stop(c.signals)
		each = append(each, time.Since(began))
	}
	slices.Sort(stops)
	slices.Sort(each)
	if stops[10] > each[10]/2 {
		t.Errorf("it takes %v, and giving the rest of the signals back %v", stops[10], each[10])
	}
}
