package mounted

import "sync"

// Few is how many mounts are kept in mind before it is looked which are gone.
const Few = 64

// Set are the root filesystems, by ID, that this process has mounted and not unmounted;
// another one may have, and removed them. The library's driver counts them as well, each
// until it is unmounted here, and can be told of none that is gone: it must be opened
// anew. The zero Set is empty; it may be used concurrently.
type Set struct {
	mu     sync.Mutex
	ids    map[string]bool
	enough int  // at how many it is looked which are gone
	stale  bool // some were
}

// Add adds one, and says whether some are gone, so that the driver counts in vain, until
// Renewed is called. As exists tells, that is looked after now and then: at no more than
// Few, or twice as many as there were the last time.
func (s *Set) Add(id string, exists func(id string) bool) (stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids, s.enough = map[string]bool{}, Few
	}
	if len(s.ids) >= s.enough {
		for id := range s.ids {
			if !exists(id) {
				delete(s.ids, id)
				s.stale = true
			}
		}
		s.enough = max(Few, 2*len(s.ids))
	}
	s.ids[id] = true
	return s.stale
}

// Renewed says that the driver counts nothing that is gone.
func (s *Set) Renewed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = false
}

// Drop takes one out, and says whether it was there.
func (s *Set) Drop(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := s.ids[id]
	delete(s.ids, id)
	return there
}

// Len is how many are kept in mind.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}
