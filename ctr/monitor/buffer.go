package monitor

import (
	"context"
	"sync"
)

// chunk is a packet that waits for its sink; a stream of 0 is a gap of lost
// bytes.
type chunk struct {
	stream byte
	data   []byte
	lost   int64
}

// queue is a bounded queue of packets between the reader, who never waits, and
// the sinks.
type queue struct {
	mu     sync.Mutex
	ready  sync.Cond
	chunks []chunk
	size   int
	limit  int
	closed bool
}

// put queues a packet, or notes it as lost when the queue is full. It never
// waits.
func (q *queue) put(stream byte, p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size+len(p) > q.limit {
		if n := len(q.chunks); n > 0 && q.chunks[n-1].stream == 0 {
			q.chunks[n-1].lost += int64(len(p))
		} else {
			q.chunks = append(q.chunks, chunk{lost: int64(len(p))})
		}
		q.ready.Signal()
		return
	}
	q.chunks = append(q.chunks, chunk{stream: stream, data: append([]byte(nil), p...)})
	q.size += len(p)
	q.ready.Signal()
}

// take waits for all that is queued; nil is the end.
func (q *queue) take() []chunk {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.chunks) == 0 && !q.closed {
		q.ready.Wait()
	}
	out := q.chunks
	q.chunks = nil
	return out
}

// done gives room back after a packet was written.
func (q *queue) done(n int) {
	q.mu.Lock()
	q.size -= n
	q.mu.Unlock()
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.ready.Broadcast()
	q.mu.Unlock()
}

// buffered puts a bounded queue before the sinks. finish waits until the sinks
// have what was queued, or ctx ends: a Write under way is then left alone.
func buffered(ctx context.Context, out Output) (deliver func(byte, []byte) error, finish func() error) {
	q := &queue{limit: out.Buffer}
	if q.limit <= 0 {
		q.limit = DefaultBuffer
	}
	q.ready.L = &q.mu
	written := make(chan struct{})
	go func() {
		defer close(written)
		dead := map[byte]bool{}
		for chunks := q.take(); chunks != nil; chunks = q.take() {
			for _, c := range chunks {
				if c.stream == 0 {
					if out.Dropped != nil {
						out.Dropped(c.lost)
					}
					continue
				}
				if w := out.sink(c.stream); w != nil && !dead[c.stream] {
					_, err := w.Write(c.data)
					dead[c.stream] = err != nil
				}
				q.done(len(c.data))
			}
		}
	}()
	deliver = func(stream byte, p []byte) error {
		if stream == streamStdout || stream == streamStderr {
			q.put(stream, p)
		}
		return nil
	}
	return deliver, func() error {
		q.close()
		select {
		case <-written:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
