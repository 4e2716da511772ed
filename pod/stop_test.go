package pod

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// testContainer is a container on record in a pod, and what starts it: a process of
// its own, and nothing else of it. It returns the last one that was started, too.
func testContainer(t *testing.T, c *Controller, cfg ctr.Config) (k ctr.Container, start func() record.Process) {
	t.Helper()
	dir, err := record.Open[ctr.Config, ctr.Status](record.Options{Paths: c.o.Paths, Kind: "containers", Log: c.o.Log})
	if err != nil {
		t.Fatal(err)
	}
	id := ctr.NewID()
	cfg.Name = id[:12]
	op, err := dir.Create(t.Context(), record.Meta{ID: id, Owner: record.OwnerCLI, Key: cfg.Name}, cfg, ctr.Status{State: ctr.Created}, record.CreateOptions{})
	if err == nil {
		err = op.End()
	}
	if err != nil {
		t.Fatal(err)
	}
	return ctr.Container{ID: id, Config: cfg}, func() record.Process {
		cmd := exec.CommandContext(t.Context(), "sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		p, err := record.ProcessOf(cmd.Process.Pid)
		if err == nil {
			_, err = dir.Update(t.Context(), id, func(s ctr.Status) (ctr.Status, error) {
				s.State, s.Start, s.Pid, s.PidStart, s.StartedAt = ctr.Running, s.Start+1, p.Pid, p.Start, time.Now()
				return s, nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// readyPod is an explicit pod on record as ready, which holds nothing.
func readyPod(t *testing.T, c *Controller) Sandbox {
	t.Helper()
	s, err := c.Create(t.Context(), Config{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	setState(t, c, s, Ready, time.Now())
	return s
}

// A pod is not taken down under a container that was started when those that ran had
// been stopped.
func TestStopOfPodStartedInMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		starts int
		want   error
	}{
		{name: "once", starts: 1},
		{name: "again and again", starts: 1 << 30, want: errdefs.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t, noNetworks{})
			s := readyPod(t, c)
			k, start := testContainer(t, c, ctr.Config{Sandbox: s.ID})
			var last record.Process
			begins := 0
			ctx := record.WithTrace(t.Context(), func(step record.Step) {
				if step.Noun == "pod" && step.Stage == record.StageLock && !step.Over {
					if begins++; begins <= tt.starts {
						last = start()
					}
				}
			})
			timeout := time.Duration(0)
			if err := c.Stop(ctx, s.ID, &timeout); !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			now, err := c.Get(t.Context(), s.ID)
			if err != nil || now.Op != nil {
				t.Errorf("operation %+v, error %v", now.Op, err)
			}
			up := tt.want != nil
			if last.Alive() != up || (now.Status.State == Ready) != up {
				t.Errorf("the container is alive: %t; the pod is %s", last.Alive(), now.Status.State)
			}
			if got, err := c.ctrs.Get(t.Context(), k.ID); err != nil || got.Status.Alive() != up {
				t.Errorf("the container is %s, error %v", got.Status.State, err)
			}
		})
	}
}

// Containers of a pod that is removed have their own time to end, or what was asked
// for; for ever is no limit of the removal's, and ends with its caller's patience.
func TestRemoveGivesTime(t *testing.T) {
	const soon, late = 200 * time.Millisecond, time.Minute
	for _, tt := range []struct {
		name  string
		own   time.Duration
		asked *time.Duration
		last  time.Duration // for how long the container goes on; 0 is for ever
		gone  time.Duration // when the caller gives up; 0 is never
		least time.Duration
		most  time.Duration
		want  error
	}{
		{name: "its own", own: soon, least: soon, most: late / 2},
		{name: "its own is long", own: late, last: soon, least: soon / 2, most: late / 2},
		{name: "less was asked for", own: late, asked: new(soon), least: soon, most: late / 2},
		{name: "at once", own: late, asked: ctr.AtOnce(), most: late / 2},
		{name: "for ever", own: soon, asked: new(-time.Second), last: 5 * soon, least: 4 * soon, most: late / 2},
		{name: "its own is for ever", own: -time.Second, last: 5 * soon, least: 4 * soon, most: late / 2},
		{name: "for ever, given up", asked: new(-time.Second), gone: soon, least: soon / 2, most: late / 2, want: context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t, noNetworks{})
			s := readyPod(t, c)
			k, start := testContainer(t, c, ctr.Config{Sandbox: s.ID, Rootfs: t.TempDir(), Stop: ctr.Stop{Timeout: &tt.own, Signal: "WINCH"}})
			p := start()
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			if tt.last > 0 {
				time.AfterFunc(tt.last, func() { _ = unix.Kill(p.Pid, unix.SIGTERM) })
			}
			if tt.gone > 0 {
				time.AfterFunc(tt.gone, giveUp)
			}
			begun := time.Now()
			err := c.Remove(ctx, s.ID, RemoveOptions{Force: true, Timeout: tt.asked})
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if took := time.Since(begun); took < tt.least || took > tt.most {
				t.Errorf("it took %s, want %s to %s", took, tt.least, tt.most)
			}
			if p.Alive() != (tt.want != nil) {
				t.Errorf("the container is alive: %t", p.Alive())
			}
			if _, err := c.ctrs.Get(t.Context(), k.ID); errdefs.IsNotFound(err) != (tt.want == nil) {
				t.Errorf("the container's record: %v", err)
			}
		})
	}
}

// The bound of a removal is more than what its containers may take to end.
func TestRemovalTime(t *testing.T) {
	running := func(own time.Duration) ctr.Container {
		return ctr.Container{Config: ctr.Config{Stop: ctr.Stop{Timeout: &own}}, Status: ctr.Status{State: ctr.Running}}
	}
	ended, infra := running(-1), running(-1)
	ended.Status.State, infra.Config.Infra = ctr.Stopped, true
	for _, tt := range []struct {
		name  string
		ctrs  []ctr.Container
		asked *time.Duration
		want  time.Duration // -1 is for ever
	}{
		{name: "none", want: undoTimeout},
		{name: "their own", ctrs: []ctr.Container{running(time.Minute), running(time.Hour)}, want: undoTimeout + time.Hour},
		{name: "the default", ctrs: []ctr.Container{{Status: ctr.Status{State: ctr.Running}}}, want: undoTimeout + 10*time.Second},
		{name: "at once", ctrs: []ctr.Container{running(time.Hour), running(-1)}, asked: ctr.AtOnce(), want: undoTimeout},
		{name: "one for ever", ctrs: []ctr.Container{running(-1), running(time.Hour)}, want: -1},
		{name: "all for ever", ctrs: []ctr.Container{running(time.Hour)}, asked: new(-time.Second), want: -1},
		{name: "it does not run", ctrs: []ctr.Container{ended, infra}, want: undoTimeout},
		{name: "longer than time is", ctrs: []ctr.Container{running(1<<63 - 1)}, want: -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, bounded := removalTime(tt.ctrs, tt.asked)
			if !bounded {
				got = -1
			}
			if got != tt.want {
				t.Errorf("bounded by %s, want %s", got, tt.want)
			}
		})
	}
}

// The infra container outlives those whose PID namespace it holds, also when they have
// time to end.
func TestRemoveEndsInfraLast(t *testing.T) {
	const own = 500 * time.Millisecond
	c := testController(t, noNetworks{})
	s := readyPod(t, c)
	_, start := testContainer(t, c, ctr.Config{Sandbox: s.ID, Rootfs: t.TempDir(), Stop: ctr.Stop{Timeout: new(own), Signal: "WINCH"}})
	infra, startInfra := testContainer(t, c, ctr.Config{Sandbox: s.ID, Rootfs: t.TempDir(), Infra: true, Remove: true})
	if _, err := c.update(t.Context(), s, func(n *Status) { n.Infra = infra.ID }); err != nil {
		t.Fatal(err)
	}
	member, holder := start(), startInfra()
	done := make(chan error, 1)
	go func() { done <- c.Remove(t.Context(), s.ID, RemoveOptions{Force: true}) }()
	for alive := true; alive; time.Sleep(time.Millisecond) {
		held := holder.Alive()
		if alive = member.Alive(); alive && !held {
			t.Error("it ended before the other")
			break
		}
	}
	if err := <-done; err != nil || holder.Alive() {
		t.Errorf("error %v; the infra container is alive: %t", err, holder.Alive())
	}
}

// A start waits for any operation but a removal, and for no pod that is being removed.
func TestStartWaitsForNoRemoval(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind string // of the operation that is under way
		is   State  // the pod
		want error
	}{
		{name: "removal", kind: opRemove, is: Created, want: errGoing},
		{name: "other operation on one that goes", kind: opStop, is: Removing, want: errGoing},
		{name: "stop", kind: opStop, is: Created, want: context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := testController(t, noNetworks{})
			s := readyPod(t, c)
			setState(t, c, s, tt.is, time.Now())
			op, err := c.dir.Begin(t.Context(), s.ID, tt.kind)
			if err != nil {
				t.Fatal(err)
			}
			defer op.Abandon()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if err := c.Start(ctx, s.ID); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}
