package pod

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// eventPod is a Controller that is kept, with a sandbox of the kubelet's.
func eventPod(t *testing.T) (*Controller, Sandbox) {
	t.Helper()
	c := testController(t, noNetworks{})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if err := c.Keep(ctx); err != nil {
		t.Fatal(err)
	}
	s, op, err := c.create(t.Context(), ctr.NewID(), Config{Name: "p", Owner: record.OwnerCRI, Kube: Kube{Name: "p"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := op.End(); err != nil {
		t.Fatal(err)
	}
	return c, s
}

func setState(t *testing.T, c *Controller, s Sandbox, state State, started time.Time) {
	t.Helper()
	if _, err := c.update(t.Context(), s, func(n *Status) { n.State, n.StartedAt = state, started }); err != nil {
		t.Fatal(err)
	}
}

// TestEventsOfSandbox: once each, in order, and what was not seen is told before
// what follows from it.
func TestEventsOfSandbox(t *testing.T) {
	c, s := eventPod(t)
	sub, err := c.Events()
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	at := time.Now()
	for range 2 {
		setState(t, c, s, Ready, at)
	}
	setState(t, c, s, Ready, at.Add(time.Second)) // an end in between was missed
	setState(t, c, s, NotReady, at.Add(time.Second))
	if err := c.Remove(t.Context(), s.ID, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []EventKind{EventCreated, EventStarted, EventStopped, EventStarted, EventStopped, EventDeleted}
	var got []EventKind
	for range want {
		e, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != s.ID || e.Sandbox.ID != s.ID {
			t.Errorf("event %+v", e)
		}
		got = append(got, e.Kind)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if e, err := sub.Next(ctx); err == nil {
		t.Errorf("one more: %+v", e)
	}
}

// TestEventsSlowReader: who reads too slowly gets what there was room for and then
// is told so; others are not kept from theirs.
func TestEventsSlowReader(t *testing.T) {
	c, s := eventPod(t)
	slow, err := c.Events()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	for i := range eventBuffer {
		setState(t, c, s, Ready, at.Add(time.Duration(i)*time.Second))
	}
	quick, err := c.Events()
	if err != nil {
		t.Fatal(err)
	}
	setState(t, c, s, NotReady, at)
	if e, err := quick.Next(t.Context()); err != nil || e.Kind != EventStopped {
		t.Errorf("the quick reader got %+v, %v", e, err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = slow.Next(t.Context())
	}
	if n != eventBuffer+1 || !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Errorf("the slow reader got %d events and %v", n-1, err)
	}
}

func TestEventsNeedKeep(t *testing.T) {
	if _, err := testController(t, noNetworks{}).Events(); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("got %v", err)
	}
}

// TestFlights: one work for all who ask, which outlives them; a halt undoes it, and
// a drain waits for it.
func TestFlights(t *testing.T) {
	f := &flights{}
	begun, release := make(chan bool, 10), make(chan bool)
	w := func(ctx context.Context, known func(string)) (string, error) {
		known("obj")
		begun <- true
		select {
		case <-release:
			return "obj", nil
		case <-ctx.Done():
			return "", fmt.Errorf("undone: %w", ctx.Err())
		}
	}
	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.join(impatient, "k", w); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that was given up: %v", err)
	}
	got := make(chan error, 2)
	for range 2 {
		go func() {
			id, err := f.join(t.Context(), "k", w)
			if err == nil && id != "obj" {
				err = fmt.Errorf("ID %q", id)
			}
			got <- err
		}()
	}
	time.Sleep(50 * time.Millisecond) // for both to wait for it
	release <- true
	for range 2 {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	if len(begun) != 1 {
		t.Errorf("the work was done %d times", len(begun))
	}
	<-begun
	go func() {
		_, err := f.join(t.Context(), "k", w)
		got <- err
	}()
	<-begun
	if err := f.halt(t.Context(), "obj"); err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("work that was halted: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	f.drain(ended)
	if _, err := f.join(t.Context(), "k", w); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("a call after the end: %v", err)
	}
}

// TestKeepForgetsRates: a reading of a sandbox that is removed is not kept for the
// next one.
func TestKeepForgetsRates(t *testing.T) {
	c, s := eventPod(t)
	now := time.Now()
	c.rates.Add(s.ID, now, 1)
	if _, ok := c.rates.Add(s.ID, now.Add(time.Second), 2); !ok {
		t.Fatal("two readings have no rate")
	}
	if err := c.Remove(t.Context(), s.ID, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.rates.Add(s.ID, now.Add(2*time.Second), 3); ok {
		t.Error("removed, and its readings are kept")
	}
}
