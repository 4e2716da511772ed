//go:build faultslong

package faults

import "testing"

func TestF30PowerLossAtFiftyPoints(t *testing.T) { powerLossInPull(t, 50) }
