package health

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
)

// ward is a pod with one container, as the record has it. What is done to it is
// written down with the time since the test's begin.
type ward struct {
	begun time.Time

	mu    sync.Mutex
	k     ctr.Container
	gone  bool
	end   chan struct{} // closed when the process ends
	log   []string
	looks int
	// onExec is the code of a check; onStart is the error of a start.
	onExec  func(ctx context.Context, n int) (int, error)
	onStart func(n int) error
	execs   int
	starts  int
	// lost says that nobody has written down that it has ended, or when.
	lost bool
	// onSettle is the error of settling it; busy says that somebody else does.
	onSettle func(n int) (busy bool, err error)
	settled  int
}

func newWard(k ctr.Container) *ward {
	k.ID = "k"
	w := &ward{begun: time.Now(), k: k, end: make(chan struct{})}
	w.onExec = func(context.Context, int) (int, error) { return 0, nil }
	w.onStart = func(int) error { return nil }
	w.onSettle = func(int) (bool, error) { return false, nil }
	return w
}

// did writes down what is done; with the lock held.
func (w *ward) did(what string) {
	w.log = append(w.log, what+" "+time.Since(w.begun).Round(time.Millisecond).String())
}

func (w *ward) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

// set changes the record.
func (w *ward) set(f func(*ctr.Container)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.k)
}

// ends ends the process, as an exit command would leave it.
func (w *ward) ends(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.k.Status.State, w.k.Status.FinishedAt = ctr.Stopped, time.Now()
	w.k.Status.ExitCode, w.k.Status.CodeKnown = code, true
	close(w.end)
}

func (w *ward) Get(context.Context, string) (ctr.Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return ctr.Container{}, errdefs.ErrNotFound
	}
	k := w.k
	if w.lost {
		k.Status.FinishedAt = time.Now()
	}
	return k, nil
}

func (w *ward) Settle(context.Context, ctr.Container) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did("settle")
	w.settled++
	if busy, err := w.onSettle(w.settled); busy || err != nil {
		return err
	}
	w.k.Status.Mounted, w.lost = "", false
	w.k.Status.FinishedAt = time.Now()
	return nil
}

func (w *ward) ToCareFor(context.Context) ([]ctr.Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	if w.gone || !w.k.NeedsCare(time.Now()) {
		return nil, nil
	}
	return []ctr.Container{w.k}, nil
}

func (w *ward) StartAgain(context.Context, string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did("start")
	w.starts++
	if err := w.onStart(w.starts); err != nil {
		return err
	}
	s := &w.k.Status
	s.Again = ctr.Again{Count: s.Again.Count + 1, Quick: s.Again.Quick + 1}
	s.State, s.Start, s.StartedAt, s.FinishedAt = ctr.Running, s.Start+1, time.Now(), time.Time{}
	if w.k.Config.Health != nil {
		s.Health = &ctr.HealthState{Status: ctr.HealthStarting}
	}
	w.end = make(chan struct{})
	return nil
}

func (w *ward) Stop(_ context.Context, _ string, o ctr.StopOptions) error {
	w.set(func(k *ctr.Container) {
		k.Status.Again.Asked, k.Status.StoppedByUser = o.Again, !o.Again
		w.did("stop")
	})
	w.ends(143)
	return nil
}

func (w *ward) Fell(context.Context, string) error {
	w.set(func(*ctr.Container) { w.did("kill") })
	w.ends(137)
	return nil
}

func (w *ward) Exec(ctx context.Context, _ string, e ctr.Exec) (int, error) {
	w.mu.Lock()
	w.did("check")
	w.execs++
	f, n := w.onExec, w.execs
	w.mu.Unlock()
	_, _ = io.WriteString(e.Streams.Stdout, "said")
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	return f(ctx, n)
}

func (w *ward) UpdateHealth(_ context.Context, k ctr.Container, f func(ctr.HealthState) ctr.HealthState) (ctr.HealthState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.k.Status.Alive() || w.k.Status.Start != k.Status.Start {
		return ctr.HealthState{}, errdefs.ErrFailedPrecondition
	}
	out := f(*w.k.Status.Health)
	w.k.Status.Health = &out
	return out, nil
}

func (w *ward) AwaitEnd(ctx context.Context, _ ctr.Container, _ bool) error {
	w.mu.Lock()
	end := w.end
	w.mu.Unlock()
	select {
	case <-end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *ward) options(dir string) Options {
	return Options{Dir: dir, Pod: w, Containers: w, Log: slog.New(slog.DiscardHandler)}
}

func (w *ward) patient() *patient {
	return &patient{o: w.options(""), id: "k", poke: make(chan struct{}, 1)}
}

// stopped is a container that has just ended, with this policy.
func stopped(r ctr.Restart, quick int) ctr.Container {
	return ctr.Container{Config: ctr.Config{Restart: r}, Status: ctr.Status{
		State: ctr.Stopped, Start: 1, StartedAt: time.Now().Add(-time.Second), FinishedAt: time.Now(),
		ExitCode: 1, CodeKnown: true, Again: ctr.Again{Count: quick, Quick: quick},
	}}
}

// checked is a container that runs and is checked every second.
func checked(onFailure string, r ctr.Restart) ctr.Container {
	return ctr.Container{
		Config: ctr.Config{Restart: r, Health: &ctr.Health{
			Test: []string{"CMD", "true"}, Interval: time.Second, Timeout: 500 * time.Millisecond, Retries: 2, OnFailure: onFailure,
		}},
		Status: ctr.Status{State: ctr.Running, Start: 1, StartedAt: time.Now(), Health: &ctr.HealthState{Status: ctr.HealthStarting}},
	}
}

func always() ctr.Restart { return ctr.Restart{Policy: ctr.RestartAlways} }

// wants compares what was done.
func (w *ward) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := w.told(); !slices.Equal(got, want) {
		t.Errorf("done: %q\nwant: %q", got, want)
	}
}

// Each restart waits twice as long as the one before.
func TestStartsAgainWhenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(stopped(always(), 0))
		for range 4 {
			w.patient().lookAfter(t.Context())
			w.ends(1) // at once; the exit command has it looked after anew
		}
		w.wants(t, "start 100ms", "start 300ms", "start 700ms", "start 1.5s")
	})
}

// One that has ended without its monitor, of which no exit command tells, is settled
// first: each look would put its end off else. While that cannot be done, or somebody
// else is at work on it, it is not tried without end in a row.
func TestStartsAgainWithoutAMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := stopped(always(), 2) // a wait of 400 ms
		k.Status.CodeKnown, k.Status.Reason, k.Status.Mounted = false, ctr.ReasonMonitorLost, "/merged"
		w := newWard(k)
		w.lost = true
		w.onSettle = func(n int) (bool, error) {
			if n == 2 {
				return false, errors.New("a busy mount")
			}
			return n == 1, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.patient().lookAfter(ctx)
		w.wants(t, "settle 0s", "settle 400ms", "settle 800ms", "start 1.2s")
	})
}

// A container that cannot be started is tried again, and not without end in a row.
func TestStartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(stopped(always(), 0))
		w.onStart = func(n int) error {
			if n < 3 {
				return errors.New("no memory")
			}
			return nil
		}
		w.patient().lookAfter(t.Context())
		w.wants(t, "start 100ms", "start 1.1s", "start 2.1s")
	})
}

// A stop during the wait is heard of at once.
func TestStoppedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(stopped(always(), 9)) // a wait of 51.2 s
		p := w.patient()
		go func() {
			time.Sleep(3 * time.Second)
			w.set(func(k *ctr.Container) { k.Status.StoppedByUser = true })
			p.poke <- struct{}{}
		}()
		p.lookAfter(t.Context())
		if took := time.Since(w.begun); took != 3*time.Second {
			t.Errorf("it was looked after for %s", took)
		}
		w.wants(t)
	})
}

// A container is checked at its start and then at every interval, until it ends.
func TestChecksAtIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(checked(ctr.HealthNone, ctr.Restart{}))
		w.onExec = func(_ context.Context, n int) (int, error) {
			time.Sleep(100 * time.Millisecond)
			return min(n%5, 1), nil // the fifth passes
		}
		go func() {
			time.Sleep(6 * time.Second)
			w.ends(0)
		}()
		w.patient().lookAfter(t.Context())
		w.wants(t, "check 0s", "check 1.1s", "check 2.2s", "check 3.3s", "check 4.4s", "check 5.5s")
		if took := time.Since(w.begun); took != 6*time.Second {
			t.Errorf("it was looked after for %s", took)
		}
	})
}

// What took over from a timer process that was killed goes by the last check.
func TestChecksGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := checked(ctr.HealthNone, ctr.Restart{})
		k.Status.Health.Log = []ctr.HealthResult{{End: time.Now().Add(-300 * time.Millisecond)}}
		w := newWard(k)
		go func() {
			time.Sleep(1800 * time.Millisecond)
			w.ends(0)
		}()
		w.patient().lookAfter(t.Context())
		w.wants(t, "check 700ms", "check 1.7s")
	})
}

// A clock that was set does not put a check off for longer than its interval.
func TestChecksByASetClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := checked(ctr.HealthNone, ctr.Restart{})
		k.Status.Health.Log = []ctr.HealthResult{{End: time.Now().Add(10 * time.Hour)}}
		w := newWard(k)
		go func() {
			time.Sleep(1500 * time.Millisecond)
			w.ends(0)
		}()
		w.patient().lookAfter(t.Context())
		w.wants(t, "check 1s")
	})
}

// What is unhealthy is dealt with as it was asked for, once.
func TestUnhealthy(t *testing.T) {
	for _, tt := range []struct {
		action string
		policy ctr.Restart
		want   []string
		state  ctr.State
	}{
		{ctr.HealthNone, always(), []string{"check 0s", "check 1s", "check 2s", "check 3s"}, ctr.Running},
		{ctr.HealthKill, ctr.Restart{}, []string{"check 0s", "check 1s", "check 2s", "kill 2s"}, ctr.Stopped},
		{ctr.HealthKill, always(), []string{"check 0s", "check 1s", "check 2s", "kill 2s", "start 2.1s", "check 2.1s", "check 3.1s"}, ctr.Running},
		{ctr.HealthStop, always(), []string{"check 0s", "check 1s", "check 2s", "stop 2s"}, ctr.Stopped},
		{ctr.HealthRestart, ctr.Restart{}, []string{"check 0s", "check 1s", "check 2s", "stop 2s", "start 2s", "check 2s", "check 3s"}, ctr.Running},
	} {
		t.Run(tt.action+" "+tt.policy.Policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(checked(tt.action, tt.policy))
				w.onExec = func(_ context.Context, n int) (int, error) {
					if n > 3 {
						return 0, nil
					}
					return 1, nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
				defer cancel()
				w.patient().lookAfter(ctx)
				w.wants(t, tt.want...)
				if w.k.Status.State != tt.state {
					t.Errorf("it is %s", w.k.Status.State)
				}
			})
		})
	}
}

// A check that was killed as the container ended has shown nothing, and one that
// took too long has.
func TestCheckWithoutACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(checked(ctr.HealthNone, ctr.Restart{}))
		w.onExec = func(ctx context.Context, n int) (int, error) {
			if n == 1 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			w.ends(0)
			return 137, nil
		}
		o, err := Check(t.Context(), w, "k")
		if err != nil || o.ExitCode != -1 || !strings.HasPrefix(o.Output, "the check did not end within 500ms\nsaid") {
			t.Errorf("%+v, %v", o, err)
		}
		if o, err := Check(t.Context(), w, "k"); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%+v, %v", o, err)
		}
		if n := len(w.k.Status.Health.Log); n != 1 {
			t.Errorf("%d checks are on record", n)
		}
	})
}

func TestNext(t *testing.T) {
	for _, tt := range []struct {
		name   string
		codes  []int
		before bool // in the start period
		want   string
		streak int
	}{
		{"passed", []int{0}, false, ctr.Healthy, 0},
		{"the first one failed", []int{1}, false, ctr.HealthStarting, 0},
		{"one failure that counts", []int{1, 1}, false, ctr.HealthStarting, 1},
		{"enough failures", []int{1, 1, 1, 1}, false, ctr.Unhealthy, 3},
		{"in the start period", []int{1, 1, 1, 1, 1, 1}, true, ctr.HealthStarting, 0},
		{"passed in the start period, then failed", []int{0, 1, 1, 1}, true, ctr.Unhealthy, 3},
		{"a blip", []int{0, 1, 1, 0, 1, 1}, false, ctr.Healthy, 2},
		{"well again", []int{1, 1, 1, 1, 0}, false, ctr.Healthy, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := ctr.HealthState{Status: ctr.HealthStarting}
			for _, code := range tt.codes {
				s = next(s, ctr.HealthResult{ExitCode: code}, !tt.before, 3)
			}
			if s.Status != tt.want || s.FailingStreak != tt.streak || len(s.Log) != min(len(tt.codes), ctr.HealthLog) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What a check prints without end is not kept.
func TestHead(t *testing.T) {
	var h head
	for range 1000 {
		if n, err := h.Write([]byte("0123456\xff")); n != 8 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := h.String(); len(got) > ctr.HealthOutput || !strings.HasPrefix(got, "0123456?0123456?") || h.kept.Cap() > 4*ctr.HealthOutput {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// eventually waits for another goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

// One process looks after a pod; another ends at once. What is put on record while
// it does is seen by a poke, and it ends with the pod.
func TestRunOnceAndPoked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pod")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWard(stopped(always(), 9))
	done := make(chan error, 1)
	go func() { done <- Run(t.Context(), w.options(dir)) }()
	looks := func() int { w.mu.Lock(); defer w.mu.Unlock(); return w.looks }
	eventually(t, "it looks", func() bool { return looks() > 0 })
	if err := Run(t.Context(), newWard(stopped(always(), 9)).options(dir)); err != nil {
		t.Error(err)
	}
	w.set(func(k *ctr.Container) { k.Status.Again.Quick = 0; k.Status.FinishedAt = time.Now().Add(-time.Second) })
	p := Process{Dir: dir, Command: []string{"/nonexistent"}}
	if err := Ensure(p); err != nil { // it runs: nothing is begun
		t.Error(err)
	}
	eventually(t, "it is started", func() bool { return len(w.told()) == 1 })
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := Ensure(p); err == nil {
		t.Error("a program that is not there was begun")
	}
	w.ends(1)
	w.set(func(k *ctr.Container) { k.Status.Again.Quick = 9 })
	n := looks()
	go func() { done <- Run(t.Context(), w.options(dir)) }()
	eventually(t, "it looks", func() bool { return looks() > n })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	select { // long before its wait is over
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the pod is gone, and it is looked after")
	}
	if err := Ensure(p); err != nil { // no pod, nothing to do
		t.Error(err)
	}
}

// What is put on record between the last look of a timer process and its end is not
// lost: who put it there has found the lock taken.
func TestRunLooksAgain(t *testing.T) {
	dir := t.TempDir()
	w := newWard(stopped(ctr.Restart{}, 0))
	late := &latePod{ward: w, at: 1}
	if err := Run(t.Context(), Options{Dir: dir, Pod: late, Containers: w, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if got := w.told(); len(got) != 1 || !strings.HasPrefix(got[0], "start ") {
		t.Errorf("%q", got)
	}
}

// latePod puts a restart on record right after a look.
type latePod struct {
	*ward
	at int
}

func (l *latePod) ToCareFor(ctx context.Context) ([]ctr.Container, error) {
	list, err := l.ward.ToCareFor(ctx)
	if l.at--; l.at == 0 {
		l.set(func(k *ctr.Container) { k.Config.Restart = always() })
	}
	return list, err
}

// The lock goes over to the process that is begun, and is free when that is killed.
func TestEnsureHandsTheLockOver(t *testing.T) {
	dir := t.TempDir()
	var pids []int
	p := Process{Dir: dir, Command: []string{"/bin/sleep", "1000"}, Placement: cgroup.Placement{
		Place: func(pid int) error { pids = append(pids, pid); return nil },
	}}
	for i := range 3 {
		for range 3 {
			if err := Ensure(p); err != nil {
				t.Fatal(err)
			}
		}
		if len(pids) != i+1 {
			t.Fatalf("%d processes were begun, want %d", len(pids), i+1)
		}
		child, err := os.FindProcess(pids[i])
		if err == nil {
			err = child.Kill()
		}
		if err == nil {
			_, err = child.Wait()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
