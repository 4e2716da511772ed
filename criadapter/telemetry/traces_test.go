package telemetry

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/davit-containers/davit/ctr/record"
)

// attributes are OTLP's, as JSON has them.
type attributes []struct {
	Key   string
	Value struct{ StringValue, IntValue string }
}

func (a attributes) get(key string) string {
	for _, one := range a {
		if one.Key == key {
			return one.Value.StringValue + one.Value.IntValue
		}
	}
	return ""
}

// sentSpan is a span as the collector gets it.
type sentSpan struct {
	TraceID, SpanID, ParentSpanID []byte
	Name, Kind                    string
	StartTimeUnixNano             string
	EndTimeUnixNano               string
	Attributes                    attributes
	Status                        struct{ Code, Message string }
}

// collector takes what is sent.
type collector struct {
	t *testing.T
	*httptest.Server
	answer func(http.ResponseWriter, *http.Request) // nil: well

	mu       sync.Mutex
	requests int
	header   http.Header
	path     string
	resource attributes
	spans    []sentSpan
}

func newCollector(t *testing.T) *collector {
	c := &collector{t: t}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c.mu.Lock()
	c.requests++
	c.mu.Unlock()
	if c.answer != nil {
		c.answer(w, r)
		return
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
	if err != nil {
		c.t.Error(err)
		return
	}
	m := kind.New().Interface()
	if err := proto.Unmarshal(body, m); err != nil {
		c.t.Error(err)
	}
	var got struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes attributes }
			ScopeSpans []struct{ Spans []sentSpan }
		}
	}
	text, err := protojson.Marshal(m)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header, c.path = r.Header, r.URL.Path
	for _, rs := range got.ResourceSpans {
		c.resource = rs.Resource.Attributes
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
}

// traced runs a Telemetry with these variables, and returns how to end it and
// its log.
func traced(t *testing.T, env map[string]string) (*Telemetry, func(), *bytes.Buffer) {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
	log := &bytes.Buffer{}
	o := testOptions(t)
	o.Getenv, o.Log = os.Getenv, slog.New(slog.NewTextHandler(log, nil))
	tell, end := run(t, o)
	return tell, end, log
}

func TestTrace(t *testing.T) {
	c := newCollector(t)
	tell, end, log := traced(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-token=a%20b,x-more=c",
		"OTEL_SERVICE_NAME": "node-7", "OTEL_RESOURCE_ATTRIBUTES": "zone=b,service.name=no",
	})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	in := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", parent))
	ctx, call := tell.Begin(in, "/runtime.v1.RuntimeService/StopContainer", false)
	record.Span(ctx, "stop kill", "abc")
	call.End(ctx, Outcome{Code: codes.DeadlineExceeded, Error: "too late", Object: "abc"})
	ctx, call = tell.Begin(t.Context(), "/runtime.v1.ImageService/ImageStatus", false)
	call.End(ctx, Outcome{Code: codes.NotFound, Error: "no such image"})
	end()

	if c.path != "/v1/traces" || c.header.Get("X-Token") != "a b" || c.header.Get("X-More") != "c" || c.header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("sent to %s with %v", c.path, c.header)
	}
	if r := c.resource; r.get("service.name") != "node-7" || r.get("service.version") != "1.2.3" || r.get("zone") != "b" || r.get("process.pid") == "" {
		t.Errorf("the resource is %v", r)
	}
	spans := map[string]sentSpan{}
	for _, s := range c.spans {
		spans[s.Name] = s
	}
	rpc, stage, other := spans["runtime.v1.RuntimeService/StopContainer"], spans["stop kill"], spans["runtime.v1.ImageService/ImageStatus"]
	if len(c.spans) != 3 || rpc.Name == "" || stage.Name == "" || other.Name == "" {
		t.Fatalf("spans %v, log %s", c.spans, log)
	}
	if hex.EncodeToString(rpc.TraceID) != "0af7651916cd43dd8448eb211c80319c" || hex.EncodeToString(rpc.ParentSpanID) != "b7ad6b7169203331" {
		t.Errorf("the call is %x below %x", rpc.TraceID, rpc.ParentSpanID)
	}
	if !bytes.Equal(stage.TraceID, rpc.TraceID) || !bytes.Equal(stage.ParentSpanID, rpc.SpanID) || stage.Attributes.get("davit.id") != "abc" {
		t.Errorf("the stage is %+v", stage)
	}
	if bytes.Equal(other.TraceID, rpc.TraceID) || len(other.TraceID) != 16 || len(other.ParentSpanID) != 0 {
		t.Errorf("the other call is %x below %x", other.TraceID, other.ParentSpanID)
	}
	if a := rpc.Attributes; rpc.Kind != "SPAN_KIND_SERVER" || a.get("rpc.system") != "grpc" || a.get("rpc.service") != "runtime.v1.RuntimeService" ||
		a.get("rpc.method") != "StopContainer" || a.get("rpc.grpc.status_code") != "4" || a.get("davit.object") != "abc" {
		t.Errorf("the call is %+v", rpc)
	}
	if rpc.Status.Code != "STATUS_CODE_ERROR" || rpc.Status.Message != "too late" || other.Status.Code != "" {
		t.Errorf("the calls ended as %+v and %+v", rpc.Status, other.Status)
	}
	if log.Len() > 0 {
		t.Errorf("the log has %s", log)
	}
}

func TestSampling(t *testing.T) {
	parent := func(flags string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"+flags))
	}
	for _, tt := range []struct {
		sampler, arg  string
		root, yes, no bool // of calls: without a parent, with one that is sampled, with one that is not
	}{
		{"", "", true, true, false},
		{"always_on", "", true, true, true},
		{"always_off", "", false, false, false},
		{"traceidratio", "0", false, false, false},
		{"traceidratio", "1", true, true, true},
		{"parentbased_always_on", "", true, true, false},
		{"parentbased_always_off", "", false, true, false},
		{"parentbased_traceidratio", "0", false, true, false},
	} {
		t.Run(tt.sampler+tt.arg, func(t *testing.T) {
			c := newCollector(t)
			tell, end, _ := traced(t, map[string]string{
				"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/here", "OTEL_TRACES_SAMPLER": tt.sampler, "OTEL_TRACES_SAMPLER_ARG": tt.arg,
			})
			for method, ctx := range map[string]context.Context{"/s/Root": t.Context(), "/s/Yes": parent("01"), "/s/No": parent("00")} {
				ctx, call := tell.Begin(ctx, method, false)
				record.Span(ctx, "stop", "abc")
				call.End(ctx, Outcome{})
			}
			end()
			names := map[string]bool{}
			for _, s := range c.spans {
				names[s.Name] = true
			}
			if names["s/Root"] != tt.root || names["s/Yes"] != tt.yes || names["s/No"] != tt.no || names["stop"] != (tt.root || tt.yes || tt.no) {
				t.Errorf("got %v", names)
			}
			if len(c.spans) > 0 && c.path != "/here" {
				t.Errorf("sent to %s", c.path)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	const at = "http://127.0.0.1:4318"
	for _, tt := range []struct {
		name    string
		env     map[string]string
		want    bool
		wantErr string
	}{
		{"nothing", nil, false, ""},
		{"an endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at}, true, ""},
		{"an endpoint of traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": at}, true, ""},
		{"the exporter alone", map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, ""},
		{"none", map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": at}, false, ""},
		{"disabled", map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": at}, false, ""},
		{"another exporter", map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, "zipkin"},
		{"protobuf", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, true, ""},
		{"gRPC", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, "http/protobuf alone"},
		{"JSON for traces", map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": at, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
		}, false, "http/json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wanted(func(k string) string { return tt.env[k] })
			if got != tt.want || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// TestCollectorHangs holds calls to their own pace when the collector never
// answers, and the end to its time.
func TestCollectorHangs(t *testing.T) {
	before := runtime.NumGoroutine()
	c := newCollector(t)
	gone := make(chan struct{})
	c.answer = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
		case <-r.Context().Done():
		}
	}
	tell, end, log := traced(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32", "OTEL_BSP_SCHEDULE_DELAY": "10",
	})
	began := time.Now()
	for range 5000 {
		ctx, call := tell.Begin(t.Context(), "/s/Call", false)
		call.End(ctx, Outcome{})
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("5000 calls took %s", took)
	}
	began = time.Now()
	end()
	if took := time.Since(began); took > 2*lastTimeout {
		t.Errorf("the end took %s", took)
	}
	if n := strings.Count(log.String(), "takes no spans"); n != 1 {
		t.Errorf("it is said %d times: %s", n, log)
	}
	if !strings.Contains(log.String(), "lost=5000 sent=0") {
		t.Errorf("the log has %s", log)
	}
	close(gone)
	c.Close()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("goroutines are left: %s", stacks[:runtime.Stack(stacks, true)])
}

// TestCollectorComesBack says so once each way.
func TestCollectorComesBack(t *testing.T) {
	c := newCollector(t)
	var well sync.Map
	c.answer = func(w http.ResponseWriter, _ *http.Request) {
		if _, ok := well.Load("now"); !ok {
			w.WriteHeader(http.StatusBadRequest)
		}
	}
	tell, end, log := traced(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_BSP_SCHEDULE_DELAY": "10"})
	send := func(requests int) {
		t.Helper()
		ctx, call := tell.Begin(t.Context(), "/s/Call", false)
		call.End(ctx, Outcome{})
		for range 500 {
			c.mu.Lock()
			n := c.requests
			c.mu.Unlock()
			if n >= requests {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("nothing is sent")
	}
	send(1)
	send(2)
	well.Store("now", true)
	send(3)
	end()
	if s := log.String(); strings.Count(s, "takes no spans") != 1 || strings.Count(s, "takes spans again") != 1 || !strings.Contains(s, "lost=2 sent=1") {
		t.Errorf("the log has %s", s)
	}
}
