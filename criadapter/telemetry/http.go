package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"
)

// serve answers on the listener until ctx ends; then it closes it, and cuts off
// who is being answered.
func (t *Telemetry) serve(ctx context.Context) error {
	server := &http.Server{
		Handler: t.pages(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(t.o.Log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = server.Close()
	})
	err := server.Serve(t.o.Listener)
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// pages are those of this server alone: what net/http/pprof puts into the mux of
// the whole process is served by nobody.
func (t *Telemetry) pages() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", t.metrics)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return mux
}

// metrics answers with every figure there is.
func (t *Telemetry) metrics(w http.ResponseWriter, r *http.Request) {
	page := &text{}
	writeBuild(page, t.o.version())
	t.figures.write(page)
	if t.o.Objects != nil {
		counts, err := t.o.Objects(r.Context())
		if err != nil {
			t.o.Log.Warn("the metrics lack containers and sandboxes", "error", err)
		}
		writeCounts(page, counts)
	}
	if t.traces != nil {
		t.traces.sender.write(page)
	}
	writeProcess(page)
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write([]byte(page.b.String()))
}
