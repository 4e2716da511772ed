//go:build faults

package faults

import "testing"

// The smaller forms of the tests of load_long_test.go.

func TestSoak(t *testing.T) { soak(t, 10, 40) }

func TestF5KilledServers(t *testing.T) { serverStorm(t, 12, 4, 1) }
