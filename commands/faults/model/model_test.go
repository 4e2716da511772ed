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
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// lab makes machines: with fakes of all programs, or with the real ones.
type lab struct {
	t    testing.TB
	real bool
	bin  string // the folder of the fakes, or davit
	from images
}

func newLab(t testing.TB, real bool) *lab {
	t.Helper()
	l := &lab{t: t, real: real, bin: t.TempDir(), from: images{ids: map[string]string{}}}
	if real {
		var err error
		if l.bin, err = harness.Binary(t.Context(), l.bin); err != nil {
			t.Fatal(err)
		}
	} else {
		l.buildFakes()
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

func (l *lab) buildFakes() {
	l.t.Helper()
	fakes := filepath.Join(l.bin, "fakes")
	build := exec.CommandContext(l.t.Context(), "go", "build", "-buildvcs=false", "-o", fakes, "./testdata/fakes")
	if out, err := build.CombinedOutput(); err != nil {
		l.t.Fatalf("building the fakes: %v\n%s", err, out)
	}
	for _, name := range []string{"conmon", "crun", "modelnet"} {
		if err := os.Link(fakes, filepath.Join(l.bin, name)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// machine makes a machine.
func (l *lab) machine() (*rig, error) {
	dir, err := os.MkdirTemp("", "davit-model-")
	if err != nil {
		return nil, err
	}
	if l.real {
		return newRealRig(dir, l.bin, l.from)
	}
	return newRig(dir, l.bin, l.from)
}

// tries is how often a sequence is done until it fails. With the real programs a
// process is killed after a time, which is another step each time.
func (l *lab) tries() int {
	if l.real {
		return 3
	}
	return 1
}

// try runs a sequence, each time on a machine of its own.
func (l *lab) try(ops []op) error {
	for range l.tries() {
		r, err := l.machine()
		if err == nil {
			err = errors.Join(r.run(ops), r.remove())
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	together := 3
	if l.real { // links of one machine would look like leaks of another
		together = 1
	}
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
				had, err := l.one(&r, sequence(seed, length, l.real))
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
	ops := sequence(seed, length, l.real)
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

// seeds are those of the environment, DAVIT_MODEL_SEED, where that is set, or else.
func seeds(t testing.TB, or func() (uint64, bool)) func() (uint64, bool) {
	t.Helper()
	text := os.Getenv("DAVIT_MODEL_SEED")
	if text == "" {
		return or
	}
	var all []uint64
	for f := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return func() (uint64, bool) {
		if len(all) == 0 {
			return 0, false
		}
		seed := all[0]
		all = all[1:]
		return seed, true
	}
}

// checked runs sequences and checks for leaks of the machine as a whole.
func (l *lab) checked(or func() (uint64, bool), length int, d time.Duration) {
	l.t.Helper()
	before, err := harness.Take(l.t.Context(), harness.Scope{})
	if err != nil {
		l.t.Fatal(err)
	}
	count := l.sequences(seeds(l.t, or), length, time.Now().Add(d))
	for _, what := range slices.Sorted(maps.Keys(count)) {
		l.t.Logf("%6d %s", count[what], what)
	}
	diff, err := harness.Settle(context.WithoutCancel(l.t.Context()), before, harness.Scope{}, 10*time.Second)
	if err != nil || !diff.Empty() {
		l.t.Errorf("the leak check differs (%v):\n%s", err, diff)
	}
}
