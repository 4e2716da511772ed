package record

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTrace(t *testing.T) {
	d := newDir(t)
	var got []Step
	ctx := WithTrace(t.Context(), func(s Step) { got = append(got, s) })
	steps := func(want ...Step) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		got = nil
	}

	op, err := d.Create(ctx, Meta{ID: "a", Owner: OwnerCLI}, conf{}, state{}, CreateOptions{Stage: "draft"})
	must(t, err)
	must(t, op.Advance(ctx, "mount"))
	must(t, op.End())
	must(t, op.End())
	op.Abandon()
	steps(Step{Noun: "pod", ID: "a", Kind: KindCreate, Stage: "draft"}, Step{Noun: "pod", ID: "a", Kind: KindCreate, Stage: "mount"},
		Step{Noun: "pod", ID: "a", Kind: KindCreate, Stage: "mount", Over: true})

	op, err = d.Begin(ctx, "a", "stop")
	must(t, err)
	busy, err := d.Begin(WithTrace(soon(t, 1), traceOf(ctx)), "a", "remove")
	if err == nil {
		t.Fatal("two operations", busy)
	}
	must(t, op.Advance(ctx, "kill"))
	must(t, op.Remove(ctx))
	steps(Step{Noun: "pod", ID: "a", Kind: "stop", Stage: StageLock}, Step{Noun: "pod", ID: "a", Kind: "stop"},
		Step{Noun: "pod", ID: "a", Kind: "remove", Stage: StageLock}, Step{Noun: "pod", ID: "a", Kind: "remove", Stage: StageLock, Over: true},
		Step{Noun: "pod", ID: "a", Kind: "stop", Stage: "kill"}, Step{Noun: "pod", ID: "a", Kind: "stop", Stage: "kill", Over: true})

	create(t, d, "b", "")
	op, err = d.Begin(t.Context(), "b", "stop")
	must(t, err)
	must(t, op.End())
	steps()
}
