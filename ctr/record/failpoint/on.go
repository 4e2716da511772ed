//go:build failpoints

package failpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInjected is what a point returns that is to fail.
var ErrInjected = errors.New("a failpoint has injected an error")

// Reach says that a point is reached.
func Reach(ctx context.Context, p Point) error { return plan().reach(ctx, string(p)) }

// ReachOf is Reach for a point that objects of several kinds have: noun is the
// object's, "pod" or "container".
func ReachOf(ctx context.Context, noun string, p Point) error {
	return plan().reach(ctx, noun+"."+string(p))
}

// ReachStage is Reach for a stage that an operation of a kind on an object has
// written down.
func ReachStage(ctx context.Context, noun, kind, stage string) error {
	return plan().reach(ctx, noun+"."+kind+"."+stage)
}

// After is f, with a point after it that is reached when f succeeds.
func After(ctx context.Context, p Point, f func() error) func() error {
	return func() error {
		if err := f(); err != nil {
			return err
		}
		return Reach(ctx, p)
	}
}

// Deadline is how long something may take: d, or what the environment says where
// that is shorter.
func Deadline(d time.Duration) time.Duration {
	if limit := plan().deadline; limit > 0 && d > limit {
		return limit
	}
	return d
}

// anyPoint is the name that counts all points.
const anyPoint = "step"

// fault is what is to happen at a point.
type fault struct {
	name string
	n    int // which time
	act  string
}

// faults are those of the environment.
type faults struct {
	list     []fault
	log      string
	deadline time.Duration
	mu       sync.Mutex
	reached  map[string]int // in this process, where there is no log
}

// plan is read once: what a process does at its points does not change.
var plan = sync.OnceValue(func() *faults {
	f := &faults{log: os.Getenv("DAVIT_FAILPOINT_LOG"), reached: map[string]int{}}
	if text := os.Getenv("DAVIT_FAILPOINT_DEADLINE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic(fmt.Sprintf("DAVIT_FAILPOINT_DEADLINE: %v", err))
		}
		f.deadline = d
	}
	for one := range strings.SplitSeq(os.Getenv("DAVIT_FAILPOINT"), ",") {
		if one == "" {
			continue
		}
		at, act, _ := strings.Cut(one, "=")
		name, times, numbered := strings.Cut(at, "#")
		n := 1
		if numbered {
			var err error
			if n, err = strconv.Atoi(times); err != nil || n < 1 {
				panic(fmt.Sprintf("DAVIT_FAILPOINT: %q is not a number of times", times))
			}
		}
		if act != "kill" && act != "error" && act != "hang" {
			panic(fmt.Sprintf("DAVIT_FAILPOINT: %q is not kill, error or hang", act))
		}
		f.list = append(f.list, fault{name: name, n: n, act: act})
	}
	return f
})

// reach counts a point and does what is to happen there.
func (f *faults) reach(ctx context.Context, name string) error {
	if f.log == "" && len(f.list) == 0 {
		return nil
	}
	times, steps, err := f.count(name)
	if err != nil {
		return err
	}
	for _, one := range f.list {
		if !(one.name == name && one.n == times) && !(one.name == anyPoint && one.n == steps) {
			continue
		}
		switch one.act {
		case "kill":
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		case "error":
			return fmt.Errorf("%s: %w", name, ErrInjected)
		case "hang":
			if err := ctx.Err(); err != nil {
				return err
			}
			<-ctx.Done()
			return fmt.Errorf("%s: %w", name, context.Cause(ctx))
		}
	}
	return nil
}

// count writes a point down and tells how often it, and any point, has been
// reached. The log is locked meanwhile, so that each process gets numbers of its
// own.
func (f *faults) count(name string) (times, steps int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.log == "" {
		f.reached[name]++
		f.reached[anyPoint]++
		return f.reached[name], f.reached[anyPoint], nil
	}
	file, err := os.OpenFile(f.log, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Fprintf(file, "%s %d\n", name, os.Getpid()); err != nil {
		return 0, 0, err
	}
	data, err := os.ReadFile(f.log)
	if err != nil {
		return 0, 0, err
	}
	return bytes.Count(append([]byte{'\n'}, data...), []byte("\n"+name+" ")), bytes.Count(data, []byte{'\n'}), nil
}
