//go:build faultslong

package faults

import "testing"

// The server's heap is by the hundredth pod what it goes on with. The pages of what Go
// has in use for it are touched one after the other, up to the nine hundredth.
func TestSoakThousandPods(t *testing.T) { soak(t, 900, 1900) }

func TestF5KilledServers110Pods(t *testing.T) { serverStorm(t, 110, 20, 4) }

func TestF37EveryNumberOfFiles(t *testing.T)     { filesOut(t, downFrom(70, 4, 1)) }
func TestF38EveryNumberOfProcesses(t *testing.T) { processesOut(t, downFrom(60, 4, 1)) }

func TestF7ThousandRounds(t *testing.T) { racers(t, 1000) }

func TestF42Line200MB(t *testing.T)     { hardLines(t, 200<<20) }
func TestF42ManyRotations(t *testing.T) { rotations(t, 300) }

func TestS18ThousandStreamsDropped(t *testing.T) { streamsDropped(t, 1000) }

func TestF43TwoHundredExecs(t *testing.T) { manyExecs(t, 200, 40, 400<<20) }
func TestF43ExecsAtDeaths(t *testing.T)   { execsAtDeath(t, 20) }
