package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path"
	"time"

	"github.com/containerd/errdefs"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/davit-containers/davit/ctr/record"
)

// Options say what is told, and to whom.
type Options struct {
	// Listener is where figures and profiles are served, on a unix socket or on
	// loopback; nil: nowhere. Run closes it.
	Listener net.Listener
	// Getenv reads the OTEL_* variables; nil: there are none.
	Getenv  func(string) string
	Version string // of davit
	// Objects counts what there is, each time that figures are asked for.
	Objects func(context.Context) ([]Count, error)
	Log     *slog.Logger
	Now     func() time.Time
}

// Count is how many containers or sandboxes are in one state.
type Count struct {
	Kind  string // "containers" or "sandboxes"
	Owner string
	State string
	N     int
}

// Telemetry watches calls. Its methods may be called concurrently; those of nil
// tell nobody anything.
type Telemetry struct {
	o       Options
	figures *figures
	traces  *tracer // nil: none are made
}

// New returns a Telemetry that listens, and tells nothing before Run. An address
// that other machines can reach is ErrInvalidArgument. Variables that it cannot
// do as asked are logged, and cost the traces at most.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	if o.Listener != nil {
		if tcp, ok := o.Listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			return nil, fmt.Errorf("metrics on %s would be seen from other machines: %w", tcp, errdefs.ErrInvalidArgument)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Telemetry{o: o, figures: newFigures()}
	if o.Getenv != nil {
		t.traces = newTracer(ctx, o)
	}
	return t, nil
}

// Run serves and sends until ctx ends; then it sends what is left, for some
// seconds at most, and returns.
func (t *Telemetry) Run(ctx context.Context) {
	var g errgroup.Group
	if t.o.Listener != nil {
		g.Go(func() error {
			if err := t.serve(ctx); err != nil {
				t.o.Log.Warn("metrics are no longer served", "error", err)
			}
			return nil
		})
	}
	if t.traces != nil {
		g.Go(func() error { t.traces.run(ctx); return nil })
	}
	_ = g.Wait()
}

// Call is one RPC under way.
type Call struct {
	t      *Telemetry
	name   string
	stream bool
	start  time.Time
	stages *record.Timeline
	span   trace.Span // nil: not traced
}

// Begin watches a call until its End: the operations that are begun with the
// context that it returns are the call's. method is the full one,
// "/runtime.v1.RuntimeService/StopContainer". The trace that the call is part of
// is taken from the metadata of ctx.
func (t *Telemetry) Begin(ctx context.Context, method string, stream bool) (context.Context, *Call) {
	now := time.Now
	if t != nil {
		now = t.o.Now
	}
	c := &Call{t: t, name: path.Base(method), stream: stream, start: now(), stages: record.NewTimeline(now)}
	if t != nil {
		t.figures.begin(c.name)
		ctx, c.span = t.traces.begin(ctx, method, c.start)
	}
	return c.stages.Follow(ctx), c
}

// Outcome is how a call has ended.
type Outcome struct {
	Code   codes.Code
	Error  string
	Object string // what it was about; may be empty
}

// End takes the call down, once. ctx is what Begin returned.
func (c *Call) End(ctx context.Context, o Outcome) {
	end := c.stages.Close()
	if c.t == nil {
		return
	}
	took := end.Sub(c.start)
	if c.stream {
		took = -1 // it lasts as long as its client wants
	}
	c.t.figures.end(c.name, o.Code, took)
	if c.span != nil {
		c.t.traces.end(ctx, c, o, end)
	}
}

// Stages are the call's stages and how long each took, for the log: "pod create
// network 90ms, container start runtime 40ms". Those under a millisecond are left out; one
// that has not ended is marked. Empty when there are none.
func (c *Call) Stages() string { return c.stages.String() }

func (o Options) version() string { return cmp.Or(o.Version, "unknown") }
