//go:build faultslong

package model

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// plan is how long each of the two long tests runs, and the seeds of its sequences:
// half of DAVIT_MODEL_TIME and random ones; else a short while, and the same ones
// each time.
func plan(t *testing.T) (seeds func() (uint64, bool), d time.Duration) {
	t.Helper()
	text := os.Getenv("DAVIT_MODEL_TIME")
	if text == "" {
		seed := uint64(0)
		return func() (uint64, bool) { seed++; return seed, true }, 45 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return func() (uint64, bool) { return rand.Uint64(), true }, d / 2
}

// TestModelLong runs sequences on machines with fakes of all programs.
func TestModelLong(t *testing.T) {
	next, d := plan(t)
	newLab(t, false).checked(next, 40, d)
}

// TestModelReal runs them with the real runtime, monitor, CNI plugins and server, and
// processes that are killed at any moment.
func TestModelReal(t *testing.T) {
	next, d := plan(t)
	newLab(t, true).checked(next, 40, d)
}

// TestModelKilledEverywhere kills each operation at each of its steps.
func TestModelKilledEverywhere(t *testing.T) { newLab(t, false).killedEverywhere(true) }
