package ctr

import (
	"context"
	"testing"
	"time"
)

// TestKeepForgetsRates: a reading of a container that is removed, here or by
// another process, is not kept for the next one.
func TestKeepForgetsRates(t *testing.T) {
	c := testController(t)
	other, err := New(c.o)
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan string, 100)
	c.OnChange(Watcher{Changed: func(_ context.Context, id string) { changed <- id }})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := c.Keep(ctx); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, from := range map[string]*Controller{"here": c, "by another process": other} {
		id := recorded(t, c, Status{State: Stopped})
		c.rates.Add(id, now, 1)
		if _, ok := c.rates.Add(id, now.Add(time.Second), 2); !ok {
			t.Fatal("two readings have no rate")
		}
		op, err := from.dir.Begin(t.Context(), id, opRemove)
		if err == nil {
			err = op.Remove(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		for there := true; there; { // its being made is told, too
			_, err := c.Now(<-changed)
			there = err == nil
		}
		if _, ok := c.rates.Add(id, now.Add(2*time.Second), 3); ok {
			t.Errorf("removed %s, and its readings are kept", name)
		}
	}
}
