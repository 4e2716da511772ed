package record

import (
	"testing"
	"time"
)

func TestTimeline(t *testing.T) {
	at := time.Unix(1000, 0)
	now := func() time.Time { return at }
	s := NewTimeline(now)
	steps := []struct {
		step Step
		took time.Duration // until the next
	}{
		{Step{Noun: "pod", ID: "p", Kind: "start", Stage: StageLock}, 2 * time.Second},
		{Step{Noun: "pod", ID: "p", Kind: "start"}, 10 * time.Microsecond},
		{Step{Noun: "pod", ID: "p", Kind: "start", Stage: "network"}, 5 * time.Millisecond},
		{Step{Noun: "container", ID: "c", Kind: "create", Stage: "rootfs"}, 7 * time.Millisecond},
		{Step{Noun: "container", ID: "c", Kind: "create", Stage: "rootfs", Over: true}, 8 * time.Millisecond},
		{Step{Noun: "container", ID: "c", Kind: "stop"}, 30 * time.Millisecond},
		{Step{Noun: "pod", ID: "p", Kind: "start", Stage: "network", Over: true}, time.Second},
	}
	for _, one := range steps {
		s.step(one.step)
		at = at.Add(one.took)
	}
	s.Close()
	s.step(Step{Noun: "container", ID: "c", Kind: "stop", Stage: "late"})
	at = at.Add(time.Hour)
	want := "pod start lock 2s, pod start network 50ms, container create rootfs 7ms, container stop 1.03s and under way"
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	spans := NewTimeline(now)
	ctx := spans.Follow(t.Context())
	outer, inner := Span(ctx, "network add", ""), Span(ctx, "spec", "")
	at = at.Add(time.Second)
	inner()
	at = at.Add(time.Second)
	outer()
	spans.Close()
	if got, want := spans.String(), "network add 2s, spec 1s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n := testing.AllocsPerRun(100, func() { Span(t.Context(), "spec", "")() }); n > 0 {
		t.Errorf("%g allocations of a span that nobody follows", n)
	}
	many := NewTimeline(now)
	for range 10 * maxStages {
		many.step(Step{Noun: "pod", ID: "p", Kind: "start", Stage: "again"})
	}
	many.Close()
	if n := len(many.Stages()); n != maxStages {
		t.Errorf("%d stages are kept", n)
	}
}

// A container and its own pod have one ID: what becomes of one is no stage of the other.
func TestTimelineOfTwo(t *testing.T) {
	now := time.Unix(0, 0)
	line := NewTimeline(func() time.Time { return now })
	step := func(noun, stage string, over bool) {
		line.step(Step{Noun: noun, ID: "a", Kind: "create", Stage: stage, Over: over})
		now = now.Add(time.Second)
	}
	step("container", "rootfs", false)
	step("pod", "cgroup", false)
	step("pod", "namespaces", false)
	step("container", "", true)
	line.Close()
	for _, s := range line.Stages() {
		if took := s.End.Sub(s.Begin); s.Name == "container create rootfs" && took != 3*time.Second {
			t.Errorf("%s took %v, want 3s", s.Name, took)
		}
	}
}
