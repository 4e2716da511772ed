//go:build faultslong

package model

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// duration is how long each of the long tests runs: DAVIT_MODEL_TIME, else an hour.
func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("DAVIT_MODEL_TIME")
	if text == "" {
		return time.Hour
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestModelLong runs sequences of random seeds.
func TestModelLong(t *testing.T) {
	newLab(t).checked(func() (uint64, bool) { return rand.Uint64(), true }, 40, duration(t)/2)
}

// TestModelKilledEverywhere kills each operation at each of its steps.
func TestModelKilledEverywhere(t *testing.T) { newLab(t).killedEverywhere(true) }
