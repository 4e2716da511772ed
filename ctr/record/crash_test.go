package record

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// scenario is what a process is killed in, at each of its system calls in
// turn. Its id is "a", its keys are "web" and "db".
type scenario struct {
	name  string
	setup func(ctx context.Context, d *dir) error
	run   func(ctx context.Context, d *dir) error
}

func create1(ctx context.Context, d *dir) error {
	m := Meta{ID: "a", Owner: OwnerCLI, Key: "web"}
	op, err := d.Create(ctx, m, conf{Text: "a"}, state{N: 1}, CreateOptions{Durable: true, Stage: "one"})
	if err != nil {
		return err
	}
	return op.End()
}

func scenarios() []scenario {
	return []scenario{{
		name:  "create",
		setup: func(context.Context, *dir) error { return nil },
		run:   create1,
	}, {
		name: "create over a dead claim",
		setup: func(_ context.Context, d *dir) error {
			return os.Symlink("gone", d.l.claimPath(OwnerCLI, "web"))
		},
		run: create1,
	}, {
		name:  "operation",
		setup: create1,
		run: func(ctx context.Context, d *dir) error {
			op, err := d.Begin(ctx, "a", "stop")
			if err != nil {
				return err
			}
			return errors.Join(op.Advance(ctx, "a long stage of this operation"), op.Advance(ctx, "short"), op.End())
		},
	}, {
		name:  "update",
		setup: create1,
		run: func(ctx context.Context, d *dir) error {
			_, err := d.Update(ctx, "a", func(s state) (state, error) { s.N++; return s, nil })
			return err
		},
	}, {
		name:  "rename",
		setup: create1,
		run:   func(ctx context.Context, d *dir) error { return d.Rename(ctx, "a", "db") },
	}, {
		name: "rename again",
		setup: func(ctx context.Context, d *dir) error {
			return errors.Join(create1(ctx, d), d.Rename(ctx, "a", "db"))
		},
		run: func(ctx context.Context, d *dir) error { return d.Rename(ctx, "a", "web") },
	}, {
		name: "remove",
		setup: func(ctx context.Context, d *dir) error {
			err := errors.Join(create1(ctx, d), d.Rename(ctx, "a", "db"), d.PutFile("a", "settings.json", 1, false))
			return errors.Join(err, os.Mkdir(d.RunDir("a")+"/bundle", 0o700))
		},
		run: func(ctx context.Context, d *dir) error {
			op, err := d.Begin(ctx, "a", "remove")
			if err != nil {
				return err
			}
			return op.Remove(ctx)
		},
	}}
}

// stepRole sets a scenario up, says which thread to trace, and runs it when
// it is told to.
func stepRole(args []string) error {
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	ctx := context.Background()
	d, err := Open[conf, state](Options{Paths: Paths{Root: args[1], RunRoot: args[2]}, Kind: "pods"})
	if err != nil {
		return err
	}
	d.l.fsync = func(int) error { return nil } // a kill takes nothing that a sync would have saved
	i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == args[0] })
	sc := scenarios()[i]
	if err := sc.setup(ctx, d); err != nil {
		return err
	}
	fmt.Println(unix.Gettid())
	var b [1]byte
	if _, err := unix.Read(0, b[:]); err != nil {
		return err
	}
	if err := sc.run(ctx, d); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// killAt runs a scenario in a process of its own and kills it at the entry of
// its system call number n. It reports whether the scenario was done before.
func killAt(t *testing.T, sc scenario, p Paths, n int) (done bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", sc.name, p.Root, p.RunRoot)
	cmd.Env = append(os.Environ(), roleEnv+"=step", "GOMAXPROCS=2")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("setting up: %v\n%s", err, stderr.String())
	}
	tid, err := strconv.Atoi(strings.TrimSpace(line))
	must(t, err)
	traceTo(t, tid, n, func() { _, _ = in.Write([]byte("x")) }, cmd.Process)
	line, _ = lines.ReadString('\n')
	if line == "" && stderr.Len() > 0 {
		t.Fatalf("step %d: %s", n, stderr.String())
	}
	return line != ""
}

// traceTo lets a thread run to the entry of its n-th system call and kills
// its process there. It returns when the thread is gone.
func traceTo(t *testing.T, tid, n int, release func(), proc *os.Process) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(tid); err != nil {
		t.Skipf("tracing a child is not allowed here: %v", err)
	}
	must(t, unix.PtraceInterrupt(tid))
	released, entries, inside := false, 0, true // the thread reads its stdin
	for {
		var ws unix.WaitStatus
		if _, err := unix.Wait4(tid, &ws, unix.WALL, nil); err != nil || ws.Exited() || ws.Signaled() {
			return
		}
		sig := 0
		switch stop := ws.StopSignal(); {
		case !released:
			release()
			released = true
		case stop == unix.SIGTRAP && ws.TrapCause() <= 0:
			inside = !inside
			if inside {
				entries++
			}
			if entries > n {
				_ = proc.Signal(syscall.SIGKILL)
				continue
			}
		case stop != unix.SIGTRAP:
			sig = int(stop)
		}
		if err := unix.PtraceSyscall(tid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}

func TestKilledAtEachSystemCall(t *testing.T) {
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			n := 0
			for done := false; !done; n++ {
				p, after := memoryPaths(t), memoryPaths(t)
				done = killAt(t, sc, p, n)
				copyTree(t, p.Root, after.Root)
				copyTree(t, p.RunRoot, after.RunRoot)
				checkSurvivors(t, p, sc, done, false)
				reboot(t, after)
				checkSurvivors(t, after, sc, done, true)
				if t.Failed() || n > 1000 {
					t.Fatalf("at step %d", n)
				}
			}
			t.Logf("killed at %d steps", n)
			if n < 10 {
				t.Fatalf("%d steps are too few", n)
			}
		})
	}
}

// checkSurvivors looks at what a killed process left: whole records, and dead
// operations that can be undone until nothing is left.
func checkSurvivors(t *testing.T, p Paths, sc scenario, done, rebooted bool) {
	t.Helper()
	d := testDir(t, p)
	entries, err := d.List()
	if err != nil && !rebooted { // what was cut short by a power loss is reported until it is swept
		t.Errorf("listing: %v", err)
	}
	for _, e := range entries {
		if e.ID != "a" || e.Config.Text != "a" || e.Key != "web" && e.Key != "db" || e.Damaged != nil || !e.Lost && e.Status.N < 1 {
			t.Errorf("not whole: %+v", e)
		}
		if err := d.GetFile("a", "settings.json", new(int)); sc.name == "remove" && (err != nil || e.Key != "db") {
			t.Errorf("half removed: %+v, %v", e, err)
		}
	}
	want := 1
	if sc.name == "remove" {
		want = 0
	}
	if done && len(entries) != want {
		t.Errorf("done, and there are %d records", len(entries))
	}
	if !strings.HasPrefix(sc.name, "create") && sc.name != "remove" && len(entries) != 1 {
		t.Errorf("there are %d records", len(entries))
	}
	sweep(t, d)
	left, err := d.List()
	must(t, err)
	for _, e := range left {
		if id, err := d.Resolve(nil, e.Key); err != nil || id != e.ID {
			t.Errorf("resolving %q: %q, %v", e.Key, id, err)
		}
		_, err := d.Update(t.Context(), e.ID, func(s state) (state, error) { s.N += 10; return s, nil })
		must(t, err)
		op, err := d.TryBegin(e.ID, "remove")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	if sc.name != "create over a dead claim" {
		checkClean(t, p)
	}
	for i, key := range []string{"web", "db"} {
		create(t, d, "b"+strconv.Itoa(i), key)
		op, err := d.TryBegin("b"+strconv.Itoa(i), "remove")
		must(t, err)
		must(t, op.Remove(t.Context()))
	}
	checkClean(t, p)
}
