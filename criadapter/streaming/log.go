package streaming

import (
	"context"
	"log/slog"
)

// kubeLog passes what the Kubernetes modules log on at the debug level: to them a
// client that goes, or a port that nobody listens on, is an error, and the client
// has been told. But for their panics.
type kubeLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (k kubeLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message != "Observed a panic" {
		if !k.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		r.Level = slog.LevelDebug
	}
	return k.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (k kubeLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return kubeLog{k.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (k kubeLog) WithGroup(name string) slog.Handler { return kubeLog{k.Handler.WithGroup(name)} }
