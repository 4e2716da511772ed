package record

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// holdRole begins an operation, goes on to a stage and waits to be killed.
func holdRole(args []string) error {
	d, err := Open[conf, state](Options{Paths: Paths{Root: args[0], RunRoot: args[1]}, Kind: "pods"})
	if err != nil {
		return err
	}
	op, err := d.Begin(context.Background(), args[2], args[3])
	if err != nil {
		return err
	}
	if err := op.Advance(context.Background(), args[4]); err != nil {
		return err
	}
	fmt.Println("held")
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// holder is another process that holds an operation.
func holder(t *testing.T, p Paths, id, kind, stage string) *os.Process {
	t.Helper()
	return started(t, "hold", p.Root, p.RunRoot, id, kind, stage)
}

// started is another process, which has said that it holds what its role is about.
func started(t *testing.T, role string, args ...string) *os.Process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	_, err = cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if n, err := out.Read(make([]byte, 8)); err != nil || n == 0 {
		t.Fatal("the holder does not hold", err)
	}
	return cmd.Process
}

func TestF48HolderKilled(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "")
	proc := holder(t, p, "a", "stop", "killing")

	if dead, err := d.Dead(); err != nil || len(dead) > 0 {
		t.Fatalf("while it lives: %q, %v", dead, err)
	}
	_, err := d.Begin(soon(t, 50*time.Millisecond), "a", "rm")
	wantErr(t, err, errdefs.ErrUnavailable)
	wantErr(t, err, context.DeadlineExceeded)
	_, err = d.TryBegin("a", "rm")
	wantErr(t, err, errdefs.ErrUnavailable)
	var busy *BusyError
	if !errors.As(err, &busy) || busy.ID != "a" || busy.Holder.Kind != "stop" || busy.Holder.Stage != "killing" ||
		busy.Holder.Pid != proc.Pid || !(Process{Pid: busy.Holder.Pid, Start: busy.Holder.PidStart}).Alive() {
		t.Errorf("%+v", busy)
	}
	if want := fmt.Sprintf("stop (killing) by process %d since ", proc.Pid); !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %q", err, want)
	}

	// Stopped is not dead.
	must(t, proc.Signal(unix.SIGSTOP))
	_, err = d.TryBegin("a", "rm")
	wantErr(t, err, errdefs.ErrUnavailable)

	began := make(chan *Op)
	go func() {
		op, err := d.Begin(t.Context(), "a", "sweep")
		if err != nil {
			t.Error(err)
		}
		began <- op
	}()
	time.Sleep(20 * time.Millisecond)
	must(t, proc.Kill())
	killed := time.Now()
	op := <-began
	t.Logf("had the lock %v after the kill", time.Since(killed))
	prior, ok := op.Prior()
	if !ok || prior.Kind != "stop" || prior.Stage != "killing" || prior.Pid != proc.Pid {
		t.Errorf("%+v", prior)
	}
	if e, err := d.Get("a"); err != nil || e.Op == nil || e.Op.Kind != "sweep" {
		t.Errorf("%+v %v", e, err)
	}

	// Whoever finds it and dies too leaves it for the next.
	for range 3 {
		op.Abandon()
		if dead, err := d.Dead(); err != nil || !slices.Equal(dead, []string{"a"}) {
			t.Errorf("%q %v", dead, err)
		}
		op, err = d.TryBegin("a", "sweep")
		must(t, err)
		if again, ok := op.Prior(); !ok || again != prior {
			t.Errorf("%+v", again)
		}
	}
	// Once it has advanced, it has that operation go on.
	must(t, op.Advance(t.Context(), "one"))
	op.Abandon()
	op, err = d.TryBegin("a", "sweep")
	must(t, err)
	if prior, _ := op.Prior(); prior.Kind != "stop" || prior.Stage != "one" || prior.Pid == proc.Pid {
		t.Errorf("%+v", prior)
	}
	must(t, op.End())
	op, err = d.TryBegin("a", "start")
	must(t, err)
	if prior, ok := op.Prior(); ok {
		t.Errorf("after End: %+v", prior)
	}
	// One that supersedes it leaves its own.
	op.Turn("kill")
	must(t, op.Advance(t.Context(), "one"))
	op.Abandon()
	op, err = d.TryBegin("a", "remove")
	must(t, err)
	must(t, op.Supersede(t.Context(), "two"))
	op.Abandon()
	op, err = d.TryBegin("a", "sweep")
	must(t, err)
	if prior, _ := op.Prior(); prior.Kind != "remove" || prior.Stage != "two" {
		t.Errorf("%+v", prior)
	}
	must(t, op.End())
	op, err = d.TryBegin("a", "start")
	must(t, err)
	// One that turns is of its first kind until it has advanced.
	op.Turn("stop")
	op.Abandon()
	op, err = d.TryBegin("a", "sweep")
	must(t, err)
	if prior, _ := op.Prior(); prior.Kind != "start" {
		t.Errorf("%+v", prior)
	}
	must(t, op.End())
	op, err = d.TryBegin("a", "start")
	must(t, err)
	op.Turn("stop")
	must(t, op.Advance(t.Context(), "down"))
	op.Abandon()
	op, err = d.TryBegin("a", "sweep")
	must(t, err)
	if prior, _ := op.Prior(); prior.Kind != "stop" || prior.Stage != "down" {
		t.Errorf("%+v", prior)
	}
	must(t, op.End())
	if dead, err := d.Dead(); err != nil || len(dead) > 0 {
		t.Errorf("%q %v", dead, err)
	}
}

func TestOpText(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	op, err := d.TryBegin("a", "stop")
	must(t, err)
	deadline := time.Now().Add(time.Hour).Round(0)
	must(t, op.Advance(t.Context(), strings.Repeat("\x01", maxText)))
	must(t, op.SetDeadline(deadline))
	must(t, op.Advance(t.Context(), "s"))
	if op.ID() != "a" || op.Kind() != "stop" || op.Stage() != "s" {
		t.Error(op.ID(), op.Kind(), op.Stage())
	}
	e, err := d.Get("a")
	must(t, err)
	if e.Op.Stage != "s" || !e.Op.Deadline.Equal(deadline) {
		t.Errorf("%+v", e.Op)
	}
	wantErr(t, op.Advance(t.Context(), strings.Repeat("x", maxText+1)), errdefs.ErrInvalidArgument)
	op.Abandon()

	for _, text := range []string{"garbage", "\x00", `{"version":1`} {
		must(t, os.WriteFile(d.l.opPath("a"), []byte(text), 0o600))
		if e, err := d.Get("a"); err != nil || e.Op.Kind != KindUnknown {
			t.Errorf("%+v %v", e, err)
		}
		op, err := d.TryBegin("a", "rm")
		must(t, err)
		if prior, ok := op.Prior(); !ok || prior.Kind != KindUnknown {
			t.Errorf("%+v", prior)
		}
		must(t, op.End())
	}
	must(t, os.WriteFile(d.l.opPath("a"), []byte(`{"version":2,"kind":7}`), 0o600))
	_, err = d.TryBegin("a", "rm")
	wantErr(t, err, errdefs.ErrFailedPrecondition)
}

func TestOpTextFitsAPage(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	long := strings.Repeat("\x01", maxText)
	for range 2 {
		op, err := d.TryBegin("a", long)
		must(t, err)
		if _, ok := op.Prior(); !ok {
			must(t, op.Advance(t.Context(), long))
		}
		must(t, op.SetDeadline(time.Now()))
		op.Abandon()
	}
	if st, err := os.Stat(d.l.opPath("a")); err != nil || st.Size() > 4096 {
		t.Error(st.Size(), err)
	}
}

func TestBeginWaits(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	var inside, n atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 10 {
				op, err := d.Begin(t.Context(), "a", "x")
				if err != nil {
					t.Error(err)
					return
				}
				if _, ok := op.Prior(); inside.Add(1) != 1 || ok {
					t.Error("two are inside")
				}
				n.Add(1)
				inside.Add(-1)
				must(t, op.End())
			}
		})
	}
	wg.Wait()
	if n.Load() != 100 {
		t.Error(n.Load())
	}
}

// Who begins in turns sees what is under way by then, and may end the waiting; an
// operation that ends is waited for no longer than that.
func TestBeginInTurns(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	first, err := d.Begin(t.Context(), "a", "start")
	must(t, err)
	var seen []string
	var second *Op
	op, err := d.BeginInTurns(t.Context(), "a", "rm", func(h Holder) error {
		if seen = append(seen, h.Kind); second != nil {
			return second.End()
		}
		must(t, first.End())
		second, err = d.TryBegin("a", "stop")
		return err
	})
	must(t, err)
	if diff := cmp.Diff([]string{"start", "stop"}, seen); diff != "" {
		t.Error(diff)
	}
	enough := errors.New("enough")
	if _, err := d.BeginInTurns(t.Context(), "a", "rm", func(Holder) error { return enough }); err != enough {
		t.Errorf("the waiting ended with %v", err)
	}
	_, err = d.BeginInTurns(soon(t, turn/2), "a", "rm", func(Holder) error { return enough })
	wantErr(t, err, errdefs.ErrUnavailable)
	wantErr(t, err, context.DeadlineExceeded)
	must(t, op.End())
	_, err = d.BeginInTurns(t.Context(), "b", "rm", func(Holder) error { return enough })
	wantErr(t, err, errdefs.ErrNotFound)
}

// TestBeginWithoutInotify is for a machine whose inotify instances are used
// up: waiting still works.
func TestBeginWithoutInotify(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	op, err := d.TryBegin("a", "x")
	must(t, err)
	time.AfterFunc(30*time.Millisecond, func() { _ = op.End() })
	fd, err := open(d.l.opPath("a"), unix.O_RDWR)
	must(t, err)
	must(t, waitLock(soon(t, 5*time.Second), fd, unix.LOCK_EX, d.RunDir("a")+"/absent"))
	unlock(fd)
}

// TestBeginOfARemovedObject: the op file goes while somebody waits for its
// lock. Getting that lock means nothing.
func TestBeginOfARemovedObject(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	for range 20 {
		create(t, d, "a", "web")
		op, err := d.TryBegin("a", "rm")
		must(t, err)
		errs := make(chan error)
		for range 3 {
			go func() {
				_, err := d.Begin(t.Context(), "a", "stop")
				errs <- err
			}()
		}
		time.Sleep(time.Millisecond)
		must(t, op.Remove(t.Context()))
		for range 3 {
			wantErr(t, <-errs, errdefs.ErrNotFound)
		}
		checkClean(t, p)
	}
}

// TestBeginOfAReplacedFile: the op file is removed and made anew while
// somebody waits. They are to get the lock of the new one.
func TestBeginOfAReplacedFile(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "")
	op, err := d.TryBegin("a", "x")
	must(t, err)
	got := make(chan *Op)
	go func() {
		op, err := d.Begin(t.Context(), "a", "y")
		if err != nil {
			t.Error(err)
		}
		got <- op
	}()
	time.Sleep(5 * time.Millisecond)
	must(t, os.Remove(d.l.opPath("a")))
	op.Abandon()
	op = <-got
	if _, err := d.TryBegin("a", "z"); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Error(err)
	}
	must(t, op.End())
}

// TestLockIsNotInherited: a child must not keep an operation alive.
func TestLockIsNotInherited(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	op, err := d.TryBegin("a", "x")
	must(t, err)
	cmd := exec.Command("/bin/sleep", "60")
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	op.mu.Lock()
	unix.Close(op.fd) // as the kernel does for a process that is killed
	op.fd = -1
	op.mu.Unlock()
	op, err = d.TryBegin("a", "y")
	must(t, err)
	must(t, op.End())
}

func TestDeadDoesNotDisturb(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	op, err := d.TryBegin("a", "x")
	must(t, err)
	op.Abandon()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := d.Dead()
				must(t, err)
			}
		})
	}
	for range 200 {
		op, err := d.TryBegin("a", "x")
		if err != nil {
			t.Fatal(err)
		}
		op.Abandon()
	}
	stop()
	wg.Wait()
}

// Who looks whether an operation is dead may be kept from going on with the lock taken.
func TestTryBeginWaitsForWhoLooks(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	for how, free := range map[int]bool{unix.LOCK_SH: true, unix.LOCK_EX: false} {
		fd, err := open(d.l.opPath("a"), unix.O_RDONLY)
		must(t, err)
		must(t, tryLock(fd, how))
		timer := time.AfterFunc(50*time.Millisecond, func() { _ = unix.Flock(fd, unix.LOCK_UN) })
		op, err := d.TryBegin("a", "x")
		if free {
			must(t, err)
			op.Abandon()
		} else {
			wantErr(t, err, errdefs.ErrUnavailable)
			if !timer.Stop() {
				t.Error("it has waited for an operation")
			}
		}
		unix.Close(fd)
	}
}

// A removal that fails is given up, so that the same process can take it up again.
func TestRemoveIsRepeated(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	op, err := d.TryBegin("a", "rm")
	must(t, err)
	lock, err := lockDir(t.Context(), d.RunDir("a"))
	must(t, err)
	wantErr(t, op.Remove(soon(t, 10*time.Millisecond)), errdefs.ErrUnavailable)
	lock.release()
	op, err = d.TryBegin("a", "rm")
	must(t, err)
	lock, err = lockDir(t.Context(), d.l.names)
	must(t, err)
	wantErr(t, op.Remove(soon(t, 10*time.Millisecond)), errdefs.ErrUnavailable)
	lock.release()
	if dead, err := d.Dead(); err != nil || len(dead) != 1 {
		t.Errorf("dead: %v, %v", dead, err)
	}
	op, err = d.TryBegin("a", "rm")
	must(t, err)
	must(t, op.Remove(t.Context()))
	must(t, op.Remove(t.Context()))
	must(t, op.End())
	checkClean(t, p)
}

// TestEndOfHalf: what is not whole stays written, whatever its owner does.
func TestEndOfHalf(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "")
	op, err := d.TryBegin("a", "rm")
	must(t, err)
	must(t, os.Remove(d.RootDir("a")+"/config.json"))
	must(t, op.End())
	_, err = d.Get("a")
	wantErr(t, err, errdefs.ErrNotFound)
	sweep(t, d)
	checkClean(t, p)
}

// TestEndOfHalfCreated: who finds a creation cut short and ends without having
// undone it does not make it an object.
func TestEndOfHalfCreated(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	op, err := d.Create(t.Context(), Meta{ID: "a", Key: "web"}, conf{}, state{}, CreateOptions{})
	must(t, err)
	must(t, os.Remove(d.l.statusPath("a"))) // killed before it was written
	op.Abandon()
	for range 2 {
		op, err = d.TryBegin("a", "sweep")
		must(t, err)
		if prior, _ := op.Prior(); prior.Kind != KindCreate {
			t.Errorf("%+v", prior)
		}
		must(t, op.End())
		_, err = d.Get("a")
		wantErr(t, err, errdefs.ErrNotFound)
	}
	sweep(t, d)
	checkClean(t, p)
}

// TestBeginWhileCreated: somebody who knows the ID cannot get in between.
func TestBeginWhileCreated(t *testing.T) {
	p := memoryPaths(t)
	d := testDir(t, p)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				op, err := d.TryBegin("a", "x")
				if err == nil {
					t.Errorf("began %q on an object that is in hand", op.Kind())
					op.Abandon()
					return
				}
			}
		})
	}
	for range 500 {
		op, err := d.Create(t.Context(), Meta{ID: "a"}, conf{}, state{}, CreateOptions{})
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	stop()
	wg.Wait()
	checkClean(t, p)
}

// TestLockOfAReplacedFolder: the folder goes and comes while somebody waits.
func TestLockOfAReplacedFolder(t *testing.T) {
	dir := t.TempDir() + "/x"
	must(t, os.Mkdir(dir, 0o700))
	first, err := lockDir(t.Context(), dir)
	must(t, err)
	got := make(chan dirLock)
	go func() {
		lock, err := lockDir(t.Context(), dir)
		if err != nil {
			t.Error(err)
		}
		got <- lock
	}()
	time.Sleep(5 * time.Millisecond)
	must(t, os.Remove(dir))
	must(t, os.Mkdir(dir, 0o700))
	first.release()
	lock := <-got
	if _, err := lockDir(soon(t, time.Millisecond), dir); !errors.Is(err, errLocked) {
		t.Errorf("two have the lock: %v", err)
	}
	lock.release()
}

// TestTwoLook: who looks for dead operations is not in the way of another.
func TestTwoLook(t *testing.T) {
	d := newDir(t)
	create(t, d, "a", "")
	op, err := d.TryBegin("a", "x")
	must(t, err)
	op.Abandon()
	fd, err := open(d.l.opPath("a"), unix.O_RDONLY)
	must(t, err)
	must(t, tryLock(fd, unix.LOCK_SH))
	defer unlock(fd)
	if dead, err := d.Dead(); err != nil || !slices.Equal(dead, []string{"a"}) {
		t.Errorf("%q, %v", dead, err)
	}
}

// TestOrphans: what a Create or a Remove leaves that was killed outside the
// life of its op file.
func TestOrphans(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	for i, make := range []func(dir string) error{
		func(string) error { return nil },
		func(dir string) error { return os.WriteFile(dir+"/.op", []byte("x"), 0o600) },
		func(dir string) error { return os.WriteFile(dir+"/op", nil, 0o600) },
	} {
		dir := d.RunDir(fmt.Sprint("o", i))
		must(t, os.Mkdir(dir, 0o700))
		must(t, make(dir))
	}
	window, err := open(d.l.run, unix.O_RDONLY)
	must(t, err)
	must(t, tryLock(window, unix.LOCK_SH)) // a Create is at work
	before := len(leftovers(t, p))
	_, err = d.Dead()
	must(t, err)
	if n := len(leftovers(t, p)); n != before {
		t.Errorf("%d of %d left under a Create", n, before)
	}
	unlock(window)
	_, err = d.Dead()
	must(t, err)
	checkClean(t, p)
}
