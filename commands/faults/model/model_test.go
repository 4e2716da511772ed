//go:build faults || faultslong

package model

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// lab makes machines.
type lab struct {
	t    testing.TB
	bin  string
	from images
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, bin: t.TempDir(), from: images{ids: map[string]string{}}}
	fakes := filepath.Join(l.bin, "fakes")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", fakes, "./testdata/fakes")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the fakes: %v\n%s", err, out)
	}
	for _, name := range []string{"conmon", "crun", "modelnet"} {
		if err := os.Link(fakes, filepath.Join(l.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	l.from.registry = harness.TestRegistry(t, harness.RegistryConfig{})
	for _, name := range []string{"one", "two"} {
		image, err := harness.Busybox(t.Context(), harness.ImageConfig{Files: []harness.File{
			{Path: "/model", Text: containerScript, Mode: 0o755}, {Path: "/which", Text: name},
		}})
		if err == nil {
			err = l.from.registry.Push(t.Context(), name+":latest", image)
		}
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		l.from.ids[config.Hex] = name
	}
	return l
}

// containerScript is what the containers of the real runtime run; see
// testdata/fakes/runtime.go.
const containerScript = `#!/bin/sh
trap 'exit 7' USR1
trap 'exit 0' USR2
trap 'exit 5' TERM
case $1 in
quick) exit 3 ;;
deaf) trap '' TERM ;;
esac
echo ready
while :; do sleep 1000 & wait; done
`

// machine makes a machine.
func (l *lab) machine() (*rig, error) {
	dir, err := os.MkdirTemp("", "davit-model-")
	if err != nil {
		return nil, err
	}
	return newRig(dir, l.bin, l.from)
}

// try runs a sequence on a machine of its own.
func (l *lab) try(ops []op) error {
	r, err := l.machine()
	if err != nil {
		return err
	}
	return errors.Join(r.run(ops), r.remove())
}

// shrink drops operations as long as the sequence fails.
func (l *lab) shrink(ops []op, first error, until time.Time) ([]op, error) {
	for size := len(ops) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(ops) && time.Now().Before(until); {
			shorter := append(append([]op(nil), ops[:at]...), ops[at+size:]...)
			err := l.try(shorter)
			var f *failure
			if errors.As(err, &f) {
				ops, first = shorter[:min(len(shorter), f.at+1)], err
				continue
			}
			at += size
		}
	}
	return ops, first
}

// script is a sequence as it is printed.
func script(ops []op) string {
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprintln(&b, "\t"+o.String())
	}
	return b.String()
}

// sequences runs sequences of these seeds, several at a time, until a time, and
// reports those that fail. It returns what has happened, and how often.
func (l *lab) sequences(seeds func() (seed uint64, ok bool), length int, until time.Time) map[string]int {
	const together = 3
	var mu sync.Mutex
	var g sync.WaitGroup
	count := map[string]int{}
	next := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().After(until) || l.t.Failed() {
			return 0, false
		}
		return seeds()
	}
	for range together {
		g.Go(func() {
			var r *rig
			for seed, more := next(); more; seed, more = next() {
				had, err := l.one(&r, sequence(seed, length))
				mu.Lock()
				count["sequences"]++
				for what, n := range had {
					count[what] += n
				}
				mu.Unlock()
				if err != nil {
					l.report(seed, length, err)
				}
			}
			if r != nil {
				if err := r.remove(); err != nil {
					l.t.Error(err)
				}
			}
		})
	}
	g.Wait()
	return count
}

// one runs a sequence, on the machine of the last one if that is still whole.
func (l *lab) one(r **rig, ops []op) (count map[string]int, err error) {
	if *r == nil {
		if *r, err = l.machine(); err != nil {
			return nil, err
		}
	}
	err = (*r).run(ops)
	count, (*r).count = (*r).count, map[string]int{}
	if err != nil {
		err = errors.Join(err, (*r).remove())
		*r = nil
	}
	return count, err
}

// killedEverywhere tells the stories of the corpus, or those that are told often,
// with the last operation killed at step 1, 2, … until it has no more steps.
func (l *lab) killedEverywhere(all bool) {
	l.t.Helper()
	stories := make(chan story)
	var g sync.WaitGroup
	for range 3 {
		g.Go(func() {
			var r *rig
			for s := range stories {
				l.t.Logf("%3d steps: %s", l.killedAt(&r, s), s.name)
			}
			if r != nil {
				if err := r.remove(); err != nil {
					l.t.Error(err)
				}
			}
		})
	}
	for _, s := range corpus() {
		if all || s.often {
			stories <- s
		}
	}
	close(stories)
	g.Wait()
}

// killedAt tells a story, and returns how many steps its end has.
func (l *lab) killedAt(r **rig, s story) (steps int) {
	for step := 1; step <= 100; step++ {
		if *r != nil {
			(*r).lastOnly = true
		}
		ops := slices.Clone(s.ops)
		ops[len(ops)-1].Kill = step
		count, err := l.one(r, ops)
		if err != nil {
			l.t.Errorf("%s:\n%s%v", s.name, script(ops), err)
		} else if count["killed, nothing done"]+count["killed, all done"]+count["killed, between"] == 0 {
			return step - 1
		}
	}
	return 100
}

// report shrinks and prints a sequence that has failed.
func (l *lab) report(seed uint64, length int, err error) {
	var f *failure
	ops := sequence(seed, length)
	if !errors.As(err, &f) {
		l.t.Errorf("seed %d: %v", seed, err)
		return
	}
	if again := l.try(ops); again == nil {
		l.t.Errorf("seed %d: %v\nIt did not fail a second time:\n%s", seed, err, script(ops[:min(len(ops), f.at+1)]))
		return
	}
	ops, err = l.shrink(ops[:min(len(ops), f.at+1)], err, time.Now().Add(5*time.Minute))
	l.t.Errorf("seed %d, made shorter:\n%s%v", seed, script(ops), err)
}

// checked runs sequences and checks for leaks of the machine as a whole.
func (l *lab) checked(seeds func() (uint64, bool), length int, d time.Duration) {
	l.t.Helper()
	before, err := harness.Take(l.t.Context(), harness.Scope{})
	if err != nil {
		l.t.Fatal(err)
	}
	count := l.sequences(seeds, length, time.Now().Add(d))
	for _, what := range slices.Sorted(maps.Keys(count)) {
		l.t.Logf("%6d %s", count[what], what)
	}
	diff, err := harness.Settle(context.WithoutCancel(l.t.Context()), before, harness.Scope{}, 10*time.Second)
	if err != nil || !diff.Empty() {
		l.t.Errorf("the leak check differs (%v):\n%s", err, diff)
	}
}
