package ctrcmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// proxied are the signals that are passed on to a container: all but those that
// cannot be caught (KILL, STOP), that are about davit itself (CHLD, URG, PIPE,
// the real-time signals that the C library keeps) and that are about its own
// terminal (TTIN, TTOU; WINCH, which becomes a resize).
func proxied() []os.Signal {
	var out []os.Signal
	for n := syscall.Signal(1); n <= 64; n++ {
		switch n {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE,
			syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH, 32, 33:
		default:
			out = append(out, n)
		}
	}
	return out
}

// catcher delivers signals to a function, one at a time, until it is stopped.
type catcher struct {
	signals chan os.Signal
	stopped chan struct{}
	done    chan struct{}
}

// catch begins to catch signals.
func catch(signals []os.Signal, deliver func(syscall.Signal)) *catcher {
	c := &catcher{signals: make(chan os.Signal, 32), stopped: make(chan struct{}), done: make(chan struct{})}
	signal.Notify(c.signals, signals...)
	go func() {
		defer close(c.done)
		for {
			select {
			case <-c.stopped:
				return
			case s := <-c.signals:
				if n, ok := s.(syscall.Signal); ok {
					deliver(n)
				}
			}
		}
	}()
	return c
}

// stop ends the catching and waits for what is being delivered. It is for a process
// that ends: the signals that ask it to do so have their effect again, and of the others
// none has any from then on. To give one back takes the runtime two changes of threads,
// which for all is more than all else that is left to be done.
func (c *catcher) stop() {
	signal.Reset(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	close(c.stopped)
	<-c.done
}

// untilStarted is a context that ends with ctx until started is called, and goes
// on after that: what was started is the user's, and signals are passed on to it.
func untilStarted(ctx context.Context) (inner context.Context, started func()) {
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	return inner, func() { stop() }
}
