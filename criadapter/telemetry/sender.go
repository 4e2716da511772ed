package telemetry

import (
	"context"
	"log/slog"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sender stands between the queue of spans and the collector. It counts, and
// says once when the collector is away and once when it is back. As a processor
// it counts the spans that end; as an exporter it sends.
type sender struct {
	to  sdktrace.SpanExporter
	log *slog.Logger

	mu                  sync.Mutex
	ended, sent, failed uint64
	away, over          bool
	cancel              context.CancelFunc // of the sending under way
}

var (
	_ sdktrace.SpanProcessor = (*sender)(nil)
	_ sdktrace.SpanExporter  = (*sender)(nil)
)

// OnStart implements sdktrace.SpanProcessor.
func (s *sender) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (s *sender) OnEnd(span sdktrace.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
}

// ForceFlush implements sdktrace.SpanProcessor.
func (s *sender) ForceFlush(context.Context) error { return nil }

// ExportSpans implements sdktrace.SpanExporter. Spans that cannot be sent are
// lost; that is logged here, and no error.
func (s *sender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.cancel = cancel
	if s.over {
		cancel()
	}
	s.mu.Unlock()
	err := s.to.ExportSpans(ctx, spans)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = nil
	switch {
	case err == nil:
		s.sent += uint64(len(spans))
		if s.away {
			s.log.Info("the collector takes spans again", "lost", s.failed)
		}
	default:
		s.failed += uint64(len(spans))
		if !s.away {
			s.log.Warn("the collector takes no spans, they are lost until it does", "error", err)
		}
	}
	s.away = err != nil
	return nil
}

// Shutdown implements sdktrace.SpanExporter and sdktrace.SpanProcessor. It comes
// once for each of the two, and leaves the exporter to who made it.
func (s *sender) Shutdown(context.Context) error { return nil }

// cut ends the sending under way, and any that is begun later.
func (s *sender) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.cancel != nil {
		s.cancel()
	}
}

// sum says what was lost, when no more spans come.
func (s *sender) sum() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost := s.ended - s.sent; lost > 0 {
		s.log.Warn("not all spans have reached the collector", "lost", lost, "sent", s.sent)
	}
}

func (s *sender) write(t *text) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.family("davit_trace_spans_total", "counter", "Spans that have ended, reached the collector, or were lost on the way to it.")
	t.sample("davit_trace_spans_total", float64(s.ended), "state", "ended")
	t.sample("davit_trace_spans_total", float64(s.sent), "state", "sent")
	t.sample("davit_trace_spans_total", float64(s.failed), "state", "lost")
}
