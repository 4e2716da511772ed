package criadapter

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"path"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/davit-containers/davit/criadapter/footprint"
	"github.com/davit-containers/davit/criadapter/telemetry"
	"github.com/davit-containers/davit/criadapter/wire"
)

// calls is what every call passes on its way in and out: its limits, its check,
// the recovery of a panic, the codes of errors, the log.
type calls struct {
	log    *slog.Logger
	limits Limits
	now    func() time.Time
	// flying and asking count the calls in flight that bring something about, and those
	// that only ask.
	flying, asking atomic.Int64
	// telemetry is told of every call; nil tells nobody.
	telemetry *telemetry.Telemetry
	worked    chan struct{} // holds one when a call has done something; see rest
	resting   func(context.Context)
	memory    *footprint.Footprint
}

// options are those of a gRPC server whose calls these are.
func (c *calls) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.NewCodec()), grpc.UnaryInterceptor(c.unary), grpc.StreamInterceptor(c.stream),
		grpc.StatsHandler(answers{}),
		grpc.MaxRecvMsgSize(cmp.Or(c.limits.Message, math.MaxInt32)), grpc.MaxSendMsgSize(math.MaxInt32),
		// A client that has gone without a word holds no stream for ever.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// answers is told by gRPC when calls have been answered, to the last byte.
type answers struct{}

// answered is the key of what is due then, in a call's context.
type answered struct{}

// afterAnswer has f called when the answer to the call under way has been sent, or
// could not be; at once, where nobody tells.
func afterAnswer(ctx context.Context, f func()) {
	due, ok := ctx.Value(answered{}).(*[]func())
	if f == nil {
		return
	}
	if !ok {
		f()
		return
	}
	*due = append(*due, f)
}

// TagRPC implements stats.Handler.
func (answers) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, answered{}, new([]func()))
}

// HandleRPC implements stats.Handler.
func (answers) HandleRPC(ctx context.Context, s stats.RPCStats) {
	due, ok := ctx.Value(answered{}).(*[]func())
	if _, end := s.(*stats.End); !end || !ok {
		return
	}
	for _, f := range *due {
		f()
	}
}

// TagConn implements stats.Handler.
func (answers) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (answers) HandleConn(context.Context, stats.ConnStats) {}

// unary is the interceptor of calls with one answer.
func (c *calls) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	var resp any
	err := c.run(ctx, call{method: info.FullMethod, request: req}, func(ctx context.Context) (err error) {
		resp, err = next(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// stream is the interceptor of calls with a stream of answers.
func (c *calls) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return c.run(ss.Context(), call{method: info.FullMethod, stream: true}, func(ctx context.Context) error {
		return next(srv, &checkedStream{ServerStream: ss, ctx: ctx})
	})
}

// checkedStream checks what a stream's client sends.
type checkedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *checkedStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return wire.Check(m)
}

// call is one call on its way.
type call struct {
	method  string // full, "/runtime.v1.RuntimeService/StopContainer"
	request any    // nil for a stream
	stream  bool
}

func (c call) name() string { return path.Base(c.method) }

// asks says whether the call changes nothing and is cheap.
func (c call) asks() bool {
	name := c.name()
	return strings.HasPrefix(name, "List") || strings.HasSuffix(name, "Status") || strings.HasSuffix(name, "Stats") || name == "Version" || name == "Status"
}

// waits says whether the call lasts as long as somebody outside wants: an event stream
// as long as its client, a stop as long as the container's grace period. Then it takes
// memory alone. While a node is drained there are as many stops as containers.
func (c call) waits() bool { return c.stream || c.name() == "StopContainer" }

func (c *calls) run(ctx context.Context, k call, do func(context.Context) error) error {
	start := c.now()
	ctx, watched := c.telemetry.Begin(ctx, k.method, k.stream)
	err := c.admit(k, func() error {
		if k.request != nil {
			if err := wire.Check(k.request); err != nil {
				return err
			}
		}
		return c.recovered(k, func() error { return do(ctx) })
	})
	err = statusOf(ctx, err)
	o := telemetry.Outcome{Code: status.Code(err), Error: status.Convert(err).Message(), Object: wire.Object(k.request)}
	watched.End(ctx, o)
	c.report(ctx, k, ending{Outcome: o, took: c.now().Sub(start), stages: watched.Stages})
	if !k.asks() {
		select {
		case c.worked <- struct{}{}:
		default:
		}
	}
	return err
}

// restAfter is how long after the last call that did something the server is at
// rest.
const restAfter = 5 * time.Second

// rest calls resting when the server comes to rest, and gives the memory that calls
// have needed back to the kernel, until ctx ends; what its start has needed it gives
// back at once. Calls that only ask come all the time, and are not counted.
func (c *calls) rest(ctx context.Context) {
	c.release()
	timer := time.NewTimer(restAfter)
	defer timer.Stop()
	for {
		select {
		case <-c.worked:
			timer.Reset(restAfter)
		case <-timer.C:
			if c.resting != nil {
				c.resting(ctx)
			}
			c.release()
		case <-ctx.Done():
			return
		}
	}
}

// release gives back what memory is not needed now.
func (c *calls) release() {
	if err := c.memory.Release(); err != nil {
		c.log.Debug("memory is not given back", "error", err)
	}
}

// admit does a call unless too many of its sort are in flight. Those that only ask are
// counted apart: a kubelet that gets no answer to them takes its node for broken.
func (c *calls) admit(k call, do func() error) error {
	if k.waits() {
		return do()
	}
	flying := &c.flying
	if k.asks() {
		flying = &c.asking
	}
	n := flying.Add(1)
	defer flying.Add(-1)
	if most := c.limits.Calls; most > 0 && n > int64(most) {
		return fmt.Errorf("%d calls are in flight already: %w", most, errdefs.ErrResourceExhausted)
	}
	return do()
}

// recovered turns a panic into an error, and logs its stack.
func (c *calls) recovered(k call, do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.log.Error("a call has panicked", "rpc", k.name(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s has panicked, the log has the stack: %w", k.name(), errdefs.ErrInternal)
		}
	}()
	return do()
}

// ending is how a call has ended, and where its time went.
type ending struct {
	telemetry.Outcome
	took   time.Duration
	stages func() string
}

// report logs a call: one that failed, or was slow, as a warning.
func (c *calls) report(ctx context.Context, k call, e ending) {
	level, text := slog.LevelDebug, "call"
	switch {
	case e.Code != codes.OK && expected(k, e.Code):
	case e.Code != codes.OK:
		level, text = slog.LevelWarn, "call failed"
	case !k.stream && c.limits.Slow > 0 && e.took > c.limits.Slow:
		level, text = slog.LevelWarn, "slow call"
	}
	if !c.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("rpc", k.name()), slog.String("code", e.Code.String()), slog.String("took", e.took.Round(time.Millisecond/10).String())}
	if e.Object != "" {
		attrs = append(attrs, slog.String("object", e.Object))
	}
	if stages := e.stages(); stages != "" {
		attrs = append(attrs, slog.String("stages", stages))
	}
	if e.Error != "" {
		attrs = append(attrs, slog.String("error", e.Error))
	}
	c.log.LogAttrs(ctx, level, text, attrs...)
}

// expected says whether a failure is an everyday answer, not worth a line: a
// client that asks whether something is there yet, or ends a stream.
func expected(k call, code codes.Code) bool {
	return code == codes.NotFound || code == codes.Unimplemented || k.stream && code == codes.Canceled
}
