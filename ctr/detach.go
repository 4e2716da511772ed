package ctr

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// ErrDetached ends a client's input when it has typed its detach keys.
var ErrDetached = errors.New("detached")

// keyTimeout is how long the beginning of the detach keys is held back: after
// it, what was typed was meant for the container.
const keyTimeout = 500 * time.Millisecond

// copyInput copies a client's input until it ends (nil), the detach keys are
// typed (ErrDetached), or the container takes no more.
func copyInput(dst io.Writer, src io.Reader, keys []byte) error {
	if len(keys) == 0 {
		_, err := io.Copy(dst, src)
		return err
	}
	chunks := make(chan chunk)
	done := make(chan struct{})
	defer close(done)
	go readChunks(src, chunks, done)
	m := matcher{keys: keys}
	var timer <-chan time.Time
	for {
		var out []byte
		var err error
		select {
		case c := <-chunks:
			if out, err = m.feed(c.data); err == nil && c.err != nil {
				out, err = append(out, m.flush()...), c.err
			}
		case <-timer:
			out = m.flush()
		}
		if timer = nil; len(m.held) > 0 {
			timer = time.After(keyTimeout)
		}
		if len(out) > 0 {
			if _, werr := dst.Write(out); werr != nil {
				return werr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

type chunk struct {
	data []byte
	err  error
}

// readChunks feeds what is read to a channel until the reader ends or done is
// closed. A Read that blocks outlives done: a terminal cannot be made to return.
func readChunks(src io.Reader, out chan<- chunk, done <-chan struct{}) {
	for {
		buf := make([]byte, 4096)
		n, err := src.Read(buf)
		select {
		case out <- chunk{buf[:n], err}:
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}

// matcher looks for a key sequence in a stream, holding back its beginning.
type matcher struct {
	keys []byte
	held []byte // a proper prefix of keys
}

// feed returns what is to be passed on; ErrDetached when the keys are complete,
// and what came before them.
func (m *matcher) feed(data []byte) ([]byte, error) {
	var out []byte
	for _, b := range data {
		m.held = append(m.held, b)
		for !bytes.HasPrefix(m.keys, m.held) {
			out = append(out, m.held[0])
			m.held = m.held[1:]
		}
		if len(m.held) == len(m.keys) {
			m.held = nil
			return out, ErrDetached
		}
	}
	return out, nil
}

// flush gives up what is held back.
func (m *matcher) flush() []byte {
	out := m.held
	m.held = nil
	return out
}
