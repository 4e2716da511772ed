package pod

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/containerd/errdefs"

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
