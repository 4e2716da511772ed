//go:build faults

package faults

import "testing"

// The smaller forms of the tests of load_long_test.go.

func TestF5KilledServers(t *testing.T) { serverStorm(t, 12, 4, 1) }

func TestF37Files(t *testing.T)     { filesOut(t, downFrom(70, 6, 8)) }
func TestF38Processes(t *testing.T) { processesOut(t, downFrom(60, 4, 7)) }

func TestF7AtOnce(t *testing.T)           { racers(t, 50) }
func TestF7ReadersDoNotWait(t *testing.T) { readersDoNotWait(t) }

func TestF42HardLines(t *testing.T) { hardLines(t, 20<<20) }
func TestF42Rotations(t *testing.T) { rotations(t, 30) }

func TestS18StreamsDropped(t *testing.T) { streamsDropped(t, 60) }

func TestF43ExecTimeouts(t *testing.T) { execTimeouts(t) }
func TestF43ManyExecs(t *testing.T)    { manyExecs(t, 40, 6, 400<<20) }
func TestF43ExecsAtDeath(t *testing.T) { execsAtDeath(t, 2) }
