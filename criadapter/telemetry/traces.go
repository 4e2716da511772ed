package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// lastTimeout is what sending the last spans may take.
const lastTimeout = 3 * time.Second

// tracer makes the spans of calls. Those of nil are none.
type tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	sender   *sender
}

// wanted says whether OTEL_* variables ask for traces. An error says, in words,
// what of them cannot be done; there are no traces then.
func wanted(getenv func(string) string) (bool, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "otlp":
	case "none":
		return false, nil
	case "":
		if endpoint(getenv) == "" {
			return false, nil
		}
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; otlp and none are known", exporter)
	}
	p := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"))
	if p != "" && p != "http/protobuf" {
		return false, fmt.Errorf("the protocol of OTLP is to be %q; http/protobuf alone is known, on the collector's port 4318 as a rule", p)
	}
	return true, nil
}

// endpoint is where traces are to go, empty for nowhere in particular.
func endpoint(getenv func(string) string) string {
	return cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

// newTracer makes the tracer that the environment asks for, nil for none. The
// rest of the variables (endpoint, headers, certificates, sampler, resource,
// sizes) are read by OpenTelemetry itself, from the process's environment.
func newTracer(ctx context.Context, o Options) *tracer {
	on, err := wanted(o.Getenv)
	if err != nil {
		o.Log.Warn("calls are not traced", "error", err)
	}
	if !on {
		return nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Log.Warn("tracing", "error", err) }))
	var at []otlptracehttp.Option
	if endpoint(o.Getenv) == "" {
		at = append(at, otlptracehttp.WithInsecure()) // http://localhost:4318, as OpenTelemetry's specification has it
	}
	exporter, err := otlptracehttp.New(ctx, at...)
	if err != nil {
		o.Log.Warn("calls are not traced", "error", err)
		return nil
	}
	// What comes later wins: the environment.
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "davit"), attribute.String("service.version", o.version()),
			attribute.Int("process.pid", os.Getpid())),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		o.Log.Warn("the traces say less of this process", "error", err)
	}
	s := &sender{to: exporter, log: o.Log}
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSpanProcessor(s), sdktrace.WithBatcher(s))
	return &tracer{provider: provider, tracer: provider.Tracer("davit", trace.WithInstrumentationVersion(o.version())), sender: s}
}

// run waits for ctx to end, and sends what is left then.
func (t *tracer) run(ctx context.Context) {
	<-ctx.Done()
	cut := time.AfterFunc(lastTimeout, t.sender.cut)
	defer cut.Stop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout+time.Second)
	defer cancel()
	if err := errors.Join(t.provider.Shutdown(last), t.sender.to.Shutdown(last)); err != nil {
		t.sender.log.Warn("ending the traces", "error", err)
	}
	t.sender.sum()
}

// begin starts the span of a call; the context that it returns has it.
func (t *tracer) begin(ctx context.Context, method string, now time.Time) (context.Context, trace.Span) {
	if t == nil {
		return ctx, nil
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = propagation.TraceContext{}.Extract(ctx, carrier(md))
	}
	name := strings.TrimPrefix(method, "/")
	service, rpc, _ := strings.Cut(name, "/")
	return t.tracer.Start(ctx, name, trace.WithTimestamp(now), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service), attribute.String("rpc.method", rpc)))
}

// end ends the span of a call, with one below it for each stage.
func (t *tracer) end(ctx context.Context, c *Call, o Outcome, now time.Time) {
	if c.span.IsRecording() {
		c.span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(o.Code)))
		if o.Object != "" {
			c.span.SetAttributes(attribute.String("davit.object", o.Object))
		}
		if faults(o.Code) {
			c.span.SetStatus(otelcodes.Error, o.Error)
		}
		ctx = trace.ContextWithSpan(ctx, c.span)
		for _, s := range c.stages.Stages() {
			_, below := t.tracer.Start(ctx, s.Name, trace.WithTimestamp(s.Begin), trace.WithAttributes(attribute.String("davit.id", s.ID)))
			below.End(trace.WithTimestamp(s.End))
		}
	}
	c.span.End(trace.WithTimestamp(now))
}

// faults says whether a code is the server's fault, by the semantic conventions
// for gRPC; a client that was told "not found" has met no error.
func faults(code codes.Code) bool {
	return slices.Contains([]codes.Code{
		codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss,
	}, code)
}

// carrier reads the trace that a call is part of out of its metadata.
type carrier metadata.MD

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string { return strings.Join(metadata.MD(c).Get(key), ",") }

// Set implements propagation.TextMapCarrier.
func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string {
	var keys []string
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}
