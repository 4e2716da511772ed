package telemetry

import (
	"testing"
	"time"

	"github.com/davit-containers/davit/ctr/record"
)

func TestStages(t *testing.T) {
	at := &clock{at: time.Unix(1000, 0)}
	s := &stages{now: at.now}
	steps := []struct {
		step record.Step
		took time.Duration // until the next
	}{
		{record.Step{Noun: "pod", ID: "p", Kind: "start", Stage: record.StageLock}, 2 * time.Second},
		{record.Step{Noun: "pod", ID: "p", Kind: "start"}, 10 * time.Microsecond},
		{record.Step{Noun: "pod", ID: "p", Kind: "start", Stage: "network"}, 5 * time.Millisecond},
		{record.Step{Noun: "container", ID: "c", Kind: "create", Stage: "rootfs"}, 7 * time.Millisecond},
		{record.Step{Noun: "container", ID: "c", Kind: "create", Stage: "rootfs", Over: true}, 8 * time.Millisecond},
		{record.Step{Noun: "container", ID: "c", Kind: "stop"}, 30 * time.Millisecond},
		{record.Step{Noun: "pod", ID: "p", Kind: "start", Stage: "network", Over: true}, time.Second},
	}
	for _, one := range steps {
		s.step(one.step)
		at.pass(one.took)
	}
	s.close()
	s.step(record.Step{Noun: "container", ID: "c", Kind: "stop", Stage: "late"})
	at.pass(time.Hour)
	want := "pod start lock 2s, pod start network 50ms, container create rootfs 7ms, container stop 1.03s and under way"
	if got := s.text(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	many := &stages{now: at.now}
	for range 10 * maxStages {
		many.step(record.Step{Noun: "pod", ID: "p", Kind: "start", Stage: "again"})
	}
	many.close()
	if n := len(many.list()); n != maxStages {
		t.Errorf("%d stages are kept", n)
	}
}
