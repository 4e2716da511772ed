package cgroup

import (
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type reading struct {
		after time.Duration
		count uint64
		rate  uint64
		ok    bool
	}
	tests := []struct {
		name string
		in   []reading
	}{
		{"the first has no rate", []reading{{0, 5e9, 0, false}}},
		{"since the one before", []reading{{0, 1e9, 0, false}, {time.Second, 15e8, 5e8, true}, {3 * time.Second, 35e8, 1e9, true}}},
		{"one that comes too soon does not count", []reading{
			{0, 0, 0, false}, {time.Second, 1e9, 1e9, true}, {time.Second + time.Millisecond, 1e9 + 9e6, 1e9, true}, {2 * time.Second, 3e9, 2e9, true},
		}},
		{"two at once", []reading{{0, 0, 0, false}, {0, 0, 0, false}, {50 * time.Millisecond, 5e7, 1e9, true}, {time.Second, 5e8, 5e8, true}}},
		{"a counter that began anew", []reading{{0, 9e9, 0, false}, {time.Second, 1e8, 0, false}, {2 * time.Second, 11e8, 1e9, true}}},
		{"a clock that was set back", []reading{{time.Second, 0, 0, false}, {0, 1, 0, false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Rates
			for i, in := range tt.in {
				rate, ok := r.Add("k", start.Add(in.after), in.count)
				if rate != in.rate || ok != in.ok {
					t.Errorf("reading %d: %d, %v, want %d, %v", i, rate, ok, in.rate, in.ok)
				}
			}
		})
	}
}

// What nobody asks for is forgotten, so that keys of what is gone do not pile up.
func TestRatesForget(t *testing.T) {
	var r Rates
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r.Add("gone", now, 1)
	r.Add("dropped", now, 1)
	r.Drop("dropped")
	if len(r.pairs) != 1 {
		t.Errorf("Drop left %d pairs", len(r.pairs))
	}
	r.Add("kept", now.Add(2*forgotten), 1)
	if _, ok := r.pairs["gone"]; ok || len(r.pairs) != 1 {
		t.Errorf("kept %v", r.pairs)
	}
}
