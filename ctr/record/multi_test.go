package record

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

const counterID = "counter"

// workerRole does random things to the records until it is killed, and says
// on its stdout what it is about to do and what is done.
func workerRole(args []string) error {
	d, err := Open[conf, state](Options{Paths: Paths{Root: args[0], RunRoot: args[1]}, Kind: "pods"})
	if err != nil {
		return err
	}
	w := worker{d: d, name: args[2]}
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := w.step(ctx, n)
		cancel()
		// What others did to the same object meanwhile is no error.
		if err != nil && !errors.Is(err, errdefs.ErrNotFound) && !errors.Is(err, errdefs.ErrAlreadyExists) {
			return fmt.Errorf("worker %s, step %d: %w", w.name, n, err)
		}
	}
}

type worker struct {
	d    *dir
	name string
}

func (w worker) step(ctx context.Context, n int) error {
	key := fmt.Sprint("key", rand.IntN(4))
	switch rand.IntN(6) {
	case 0, 1:
		return w.create(ctx, fmt.Sprintf("%s-%d", w.name, n), key)
	case 2:
		return w.remove(ctx, key)
	case 3:
		id, err := w.d.Resolve(nil, key)
		if err != nil {
			return err
		}
		return w.d.Rename(ctx, id, fmt.Sprint("key", rand.IntN(4)))
	case 4:
		return w.sweep(ctx)
	}
	_, err := w.d.Update(ctx, counterID, func(s state) (state, error) { s.N++; return s, nil })
	if err == nil {
		fmt.Println("updated", counterID)
	}
	return err
}

func (w worker) create(ctx context.Context, id, key string) error {
	op, err := w.d.Create(ctx, Meta{ID: id, Owner: OwnerCLI, Key: key}, conf{Text: id}, state{N: 1}, CreateOptions{})
	if err != nil {
		return err
	}
	if err := errors.Join(op.Advance(ctx, "two"), op.End()); err != nil {
		return err
	}
	fmt.Println("created", id)
	return nil
}

func (w worker) remove(ctx context.Context, key string) error {
	id, err := w.d.Resolve(nil, key)
	if err != nil {
		return err
	}
	fmt.Println("removing", id) // from here on others may finish it
	op, err := w.d.Begin(ctx, id, "remove")
	if err != nil {
		return err
	}
	if err := op.Remove(ctx); err != nil {
		return err
	}
	fmt.Println("removed", id)
	return nil
}

func (w worker) sweep(ctx context.Context) error {
	if _, err := w.d.List(); err != nil {
		return err
	}
	dead, err := w.d.Dead()
	if err != nil {
		return err
	}
	for _, id := range dead {
		op, err := w.d.TryBegin(id, "sweep")
		if errors.Is(err, errdefs.ErrUnavailable) || errors.Is(err, errdefs.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if prior, ok := op.Prior(); ok && (prior.Kind == KindCreate || prior.Kind == "remove") {
			err = op.Remove(ctx)
		} else {
			err = op.End()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// acks collects what the workers say.
type acks struct {
	mu     sync.Mutex
	said   map[string]bool // "removed w1-7"
	counts map[string]int  // of the first words
}

func (a *acks) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		word, _, _ := strings.Cut(line, " ")
		a.mu.Lock()
		a.said[strings.TrimSpace(line)] = true
		a.counts[word]++
		a.mu.Unlock()
	}
}

// spawn runs a worker until stop is closed or a while has passed; then it is
// killed.
func (a *acks) spawn(t *testing.T, p Paths, name string, stop <-chan struct{}) {
	cmd := exec.Command("/proc/self/exe", p.Root, p.RunRoot, name)
	cmd.Env = append(os.Environ(), roleEnv+"=worker", "GOMAXPROCS=2")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return
	}
	kill := time.AfterFunc(time.Duration(10+rand.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	done := make(chan struct{})
	go func() {
		select {
		case <-stop:
			_ = cmd.Process.Kill()
		case <-done:
		}
	}()
	a.read(out)
	_ = cmd.Wait()
	kill.Stop()
	close(done)
	if stderr.Len() > 0 {
		t.Error(stderr.String())
	}
}

func TestF7ManyProcessesKilled(t *testing.T) {
	p := memoryPaths(t)
	d := testDir(t, p)
	create(t, d, counterID, counterID)
	a := &acks{said: map[string]bool{}, counts: map[string]int{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	kills := make([]int, 4)
	for i := range kills {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a.spawn(t, p, "w"+strconv.Itoa(i)+"-"+strconv.Itoa(kills[i]), stop)
				kills[i]++
			}
		})
	}
	for start := time.Now(); time.Since(start) < 3*time.Second; {
		list, err := d.List()
		if err != nil {
			t.Error(err)
		}
		for _, e := range list {
			if e.Damaged != nil || e.Lost || e.ID != counterID && (e.Config.Text != e.ID || e.Status.N != 1) {
				t.Errorf("not whole: %+v", e)
			}
		}
	}
	close(stop)
	wg.Wait()
	total := 0
	for _, n := range kills {
		total += n
	}
	t.Logf("%d processes killed; %v", total, a.counts)
	a.check(t, d, total)
	sweep(t, d)
	removeAll(t, d)
	checkClean(t, p)
}

// check holds what was acknowledged against what is there.
func (a *acks) check(t *testing.T, d *dir, kills int) {
	t.Helper()
	c, err := d.Get(counterID)
	must(t, err)
	if n, acked := c.Status.N-1, a.counts["updated"]; n < acked || n > acked+kills {
		t.Errorf("%d updates of which %d were acknowledged", n, acked)
	}
	for said := range a.said {
		word, id, _ := strings.Cut(said, " ")
		_, err := d.Get(id)
		switch {
		case word == "created" && !a.said["removing "+id] && err != nil:
			t.Errorf("%s was created, and: %v", id, err)
		case word == "removed" && !errors.Is(err, errdefs.ErrNotFound):
			t.Errorf("%s was removed, and: %v", id, err)
		}
	}
	list, err := d.List()
	must(t, err)
	keys := map[string]string{}
	for _, e := range list {
		if e.Op != nil && (e.Op.Kind == "remove" || e.Op.Kind == "sweep") {
			continue // who removed it was killed, and its key may be free already
		}
		if keys[e.Key] != "" {
			t.Errorf("%s and %s have the key %q", keys[e.Key], e.ID, e.Key)
		}
		keys[e.Key] = e.ID
		if id, err := d.Resolve(nil, e.Key); err != nil || id != e.ID {
			t.Errorf("%q of %s: %q, %v", e.Key, e.ID, id, err)
		}
	}
	for _, word := range []string{"created", "removed", "updated"} {
		if a.counts[word] < 10 {
			t.Errorf("only %d %s", a.counts[word], word)
		}
	}
}

func removeAll(t *testing.T, d *dir) {
	t.Helper()
	list, err := d.List()
	must(t, err)
	for _, e := range list {
		op, err := d.Begin(soon(t, 5*time.Second), e.ID, "rm")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
}
