//go:build !failpoints

package failpoint

import (
	"context"
	"time"
)

// Reach says that a point is reached.
func Reach(context.Context, Point) error { return nil }

// ReachOf is Reach for a point that objects of several kinds have: noun is the
// object's, "pod" or "container".
func ReachOf(_ context.Context, _ string, _ Point) error { return nil }

// ReachStage is Reach for a stage that an operation of a kind on an object has
// written down.
func ReachStage(_ context.Context, _, _, _ string) error { return nil }

// Deadline is how long something may take, d.
func Deadline(d time.Duration) time.Duration { return d }

// After is f, with a point after it that is reached when f succeeds.
func After(_ context.Context, _ Point, f func() error) func() error { return f }
