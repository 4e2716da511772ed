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
	files map[process]*os.File
}

// process is named by its pid and start time, see record.ProcessStart.
type process struct {
	pid   int
	start uint64
}

// Hold holds a process until release is called, once. One that is gone, or that cannot be
// opened, or is held already, is not; release then does nothing.
func (h *Held) Hold(pid int, start uint64) (release func()) {
	f, err := pidfdOf(pid, start)
	if err != nil {
		return func() {}
	}
	p := process{pid, start}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.files[p] != nil {
		_ = f.Close()
		return func() {}
	}
	if h.files == nil {
		h.files = map[process]*os.File{}
	}
	h.files[p] = f
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.files, p)
		_ = f.Close()
	}
}

// Alive is record.Alive, for any process.
func (h *Held) Alive(pid int, start uint64) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	f := h.files[process{pid, start}]
	if f == nil {
		return record.Alive(pid, start)
	}
	return !isReadable(f)
}
