package monitor

import (
	"os"
	"sync"

	"github.com/davit-containers/davit/ctr/record"
)

// Held are processes that are held open, so that whether they run is a look at a
// descriptor, a tenth of what reading /proc costs. Its zero value holds none. It may
// be used by several goroutines.
type Held struct {
	mu    sync.RWMutex
	files map[record.Process]*os.File
}

// Hold holds a process until release is called, once. One that is gone, or that cannot be
// opened, or is held already, is not; release then does nothing.
func (h *Held) Hold(p record.Process) (release func()) {
	f, err := pidfdOf(p)
	if err != nil {
		return func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.files[p] != nil {
		_ = f.Close()
		return func() {}
	}
	if h.files == nil {
		h.files = map[record.Process]*os.File{}
	}
	h.files[p] = f
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.files, p)
		_ = f.Close()
	}
}

// Alive is record.Process.Alive, for any process.
func (h *Held) Alive(p record.Process) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	f := h.files[p]
	if f == nil {
		return p.Alive()
	}
	return !isReadable(f)
}
