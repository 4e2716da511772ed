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
	c.OnChange(Watcher{Changed: func(context.Context, string) {}})
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
		kept := true
		for i := 2; kept && i < 1000; i++ { // it is told of the removal a moment later
			if _, kept = c.rates.Add(id, now.Add(time.Duration(i)*time.Second), 3); kept {
				time.Sleep(5 * time.Millisecond)
			}
		}
		if kept {
			t.Errorf("removed %s, and its readings are kept", name)
		}
	}
}
