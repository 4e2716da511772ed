package cgroup

import (
	"sync"
	"time"
)

const (
	// shortest is the least time between two samples that a rate is made of:
	// over less of it the tick of the scheduler shows.
	shortest = 100 * time.Millisecond
	// forgotten is how long a sample is kept that nobody asks for.
	forgotten = 5 * time.Minute
)

// Rates make rates of counters that are read now and then, each by a key: the
// average since the reading before. The zero value is ready; it may be used
// concurrently.
type Rates struct {
	mu    sync.Mutex
	pairs map[string]pair
	swept time.Time
}

type pair struct {
	first, last sample // first is zero until there are two
}

type sample struct {
	at    time.Time
	count uint64
}

// Add takes a reading and returns the rate in counts a second; false for the
// first reading of a key, or of a counter that has begun anew. A reading that
// comes too soon after the last one does not count: the rate is then that of the
// two before.
func (r *Rates) Add(key string, at time.Time, count uint64) (rate uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pairs == nil {
		r.pairs = map[string]pair{}
	}
	r.sweep(at)
	p, known := r.pairs[key]
	now := sample{at, count}
	switch {
	case !known || count < p.last.count || at.Before(p.last.at):
		r.pairs[key] = pair{last: now}
		return 0, false
	case at.Sub(p.last.at) >= shortest:
		p = pair{p.last, now}
		r.pairs[key] = p
		return p.first.to(p.last)
	case p.first.at.IsZero():
		return p.last.to(now)
	default:
		return p.first.to(p.last)
	}
}

// Drop forgets a key.
func (r *Rates) Drop(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, key)
}

// sweep forgets what nobody has asked for in a while; r.mu is held.
func (r *Rates) sweep(now time.Time) {
	if now.Sub(r.swept) < forgotten/2 {
		return
	}
	r.swept = now
	for key, p := range r.pairs {
		if now.Sub(p.last.at) > forgotten {
			delete(r.pairs, key)
		}
	}
}

func (s sample) to(t sample) (uint64, bool) {
	took := t.at.Sub(s.at)
	if took <= 0 {
		return 0, false
	}
	return uint64(float64(t.count-s.count) / took.Seconds()), true
}
