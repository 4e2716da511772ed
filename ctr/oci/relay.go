package oci

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/davit-containers/davit/ctr/record/words"
)

const copyBuffer = 64 << 10

// drain copies from a pipe or pty until its end. Once exited is closed and a
// read deadline wakes it, it takes what is there already and returns: nobody
// who counts writes any more.
func drain(from *os.File, to io.Writer, exited <-chan struct{}) {
	buf := make([]byte, copyBuffer)
	for {
		n, err := from.Read(buf)
		deliver(&to, buf[:n])
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			select {
			case <-exited:
				if to != nil {
					words.Rest(from, to)
				}
			default:
			}
		}
		return
	}
}

// deliver writes p; a sink that fails is given up, and what follows is read and
// dropped so that the process is not held up.
func deliver(to *io.Writer, p []byte) {
	if *to == nil || len(p) == 0 {
		return
	}
	if _, err := (*to).Write(p); err != nil {
		*to = nil
	}
}

// heldWriter keeps what is written until it is released, then passes it on.
type heldWriter struct {
	mu       sync.Mutex
	to       io.Writer
	held     tail
	released bool
}

// Write implements io.Writer. It never fails before the release.
func (h *heldWriter) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.released {
		return h.held.Write(p)
	}
	if h.to == nil {
		return len(p), nil
	}
	return h.to.Write(p)
}

func (h *heldWriter) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	if h.to != nil && len(h.held.bytes()) > 0 {
		_, _ = h.to.Write(h.held.bytes())
	}
	h.held.buf = nil
}

func (h *heldWriter) taken() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]byte(nil), h.held.bytes()...)
}
