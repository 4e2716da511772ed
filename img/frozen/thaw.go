package frozen

import (
	"sync"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// Thawing is a store that may be a [Store] until its file system can be written to.
type Thawing struct {
	mu   sync.Mutex
	now  storage.Store
	open func() (storage.Store, error)
}

// Thaw is the Thawing of st, which open opens anew.
func Thaw(st storage.Store, open func() (storage.Store, error)) *Thawing {
	return &Thawing{now: st, open: open}
}

// Renew has the library open the store anew, so that it knows nothing of it but what
// is on disk. Who uses the store as it was goes on doing so.
func (t *Thawing) Renew() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.now.(Store); ok {
		return nil
	}
	st, err := t.open()
	if err == nil {
		t.now = st
	}
	return err
}

// Store is the store as it can be used now.
func (t *Thawing) Store() storage.Store {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.now.(Store); ok && unix.Access(f.root, unix.W_OK) == nil {
		if st, err := t.open(); err == nil {
			t.now = st
		}
	}
	return t.now
}
