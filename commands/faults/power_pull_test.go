//go:build faults

package faults

import "testing"

// A loss of power during a pull; TestF30PowerLossAtFiftyPoints has more points.
func TestF30PowerLossInPull(t *testing.T) { powerLossInPull(t, 4) }
