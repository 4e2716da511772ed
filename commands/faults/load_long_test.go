//go:build faultslong

package faults

import "testing"

func TestSoakThousandPods(t *testing.T) { soak(t, 100, 1000) }

func TestF5KilledServers110Pods(t *testing.T) { serverStorm(t, 110, 20, 4) }
