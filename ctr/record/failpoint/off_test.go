//go:build !failpoints

package failpoint

import (
	"errors"
	"testing"
	"time"
)

// An ordinary build does nothing at a point, whatever the environment says.
func TestNothingHappens(t *testing.T) {
	t.Setenv("DAVIT_FAILPOINT", "step#1=kill")
	ctx := t.Context()
	if err := errors.Join(Reach(ctx, RecordOp), ReachOf(ctx, "pod", RecordOp), ReachStage(ctx, "pod", "start", "network")); err != nil {
		t.Error(err)
	}
	if got := testing.AllocsPerRun(10, func() { _ = ReachStage(ctx, "pod", "start", "network") }); got != 0 {
		t.Errorf("a point allocates %v times", got)
	}
	if got := Deadline(time.Hour); got != time.Hour {
		t.Errorf("a deadline of an hour is %s", got)
	}
}
