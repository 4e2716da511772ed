//go:build faults

package model

import (
	"testing"
	"time"
)

// TestModel runs sequences of fixed seeds, as many as fit into the time.
func TestModel(t *testing.T) {
	seed := uint64(0)
	newLab(t).checked(func() (uint64, bool) { seed++; return seed, seed <= 200 }, 20, 30*time.Second)
}

// TestModelKilled kills operations at each of their steps that were not whole then
// once.
func TestModelKilled(t *testing.T) { newLab(t).killedEverywhere(false) }
