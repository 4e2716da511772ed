//go:build faults

package model

import (
	"testing"
	"time"
)

// TestModel runs sequences of fixed seeds, as many as fit into the time.
func TestModel(t *testing.T) {
	seed := uint64(0)
	newLab(t, false).checked(func() (uint64, bool) { seed++; return seed, seed <= 200 }, 20, 30*time.Second)
}

// TestModelKilled kills operations at each of their steps that were not whole then
// once.
func TestModelKilled(t *testing.T) { newLab(t, false).killedEverywhere(false) }

// TestModelTold does again what was once done wrong.
func TestModelTold(t *testing.T) {
	l := newLab(t, false)
	for _, s := range told() {
		if err := l.try(s.ops); err != nil {
			t.Errorf("%s:\n%s%v", s.name, script(s.ops), err)
		}
	}
}
