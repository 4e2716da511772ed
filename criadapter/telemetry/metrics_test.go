package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

// clock is a clock that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

func testOptions(t *testing.T) Options {
	return Options{Version: "1.2.3", Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Objects: func(context.Context) ([]Count, error) {
		return []Count{
			{Kind: "sandboxes", Owner: "cri", State: "ready", N: 2}, {Kind: "containers", Owner: "cri", State: "running", N: 3},
			{Kind: "containers", Owner: "cli", State: "stopped", N: 1},
		}, nil
	}}
}

// run makes a Telemetry that runs until the test ends.
func run(t *testing.T, o Options) (*Telemetry, func()) {
	t.Helper()
	tell, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); tell.Run(ctx) }()
	end := func() { stop(); <-done }
	t.Cleanup(end)
	return tell, end
}

// overUnix gets a page of a Telemetry that serves on a unix socket.
func overUnix(t *testing.T, path, page string) (*http.Response, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://davit"+page, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// parse reads a page of metrics back: values by name and labels. It fails the
// test for what Prometheus would refuse, or complain of.
func parse(t *testing.T, page string) map[string]float64 {
	t.Helper()
	values, kinds := map[string]float64{}, map[string]string{}
	family := ""
	for line := range strings.Lines(page) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			t.Errorf("the last line %q has no end", line)
		}
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if _, twice := kinds[family]; twice {
				t.Errorf("%s is there twice", family)
			}
			kinds[family] = ""
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if name != family || kinds[name] != "" {
				t.Errorf("%q is under %q", line, family)
			}
			kinds[name] = kind
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		name, _, _ := strings.Cut(line[:at], "{")
		if kinds[family] == "histogram" {
			for _, s := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, s)
			}
		}
		if name != family || kinds[family] == "" {
			t.Errorf("%q is in the family %q", line, family)
		}
		if _, twice := values[line[:at]]; twice {
			t.Errorf("%q is there twice", line)
		}
		values[line[:at]] = value
	}
	return values
}

func TestMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	at := &clock{at: time.Unix(1000, 0)}
	o := testOptions(t)
	o.Listener, o.Now = l, at.now
	tell, end := run(t, o)
	call := func(rpc string, took time.Duration, code codes.Code) {
		ctx, c := tell.Begin(t.Context(), "/runtime.v1.RuntimeService/"+rpc, false)
		at.pass(took)
		c.End(ctx, Outcome{Code: code})
	}
	call("StopContainer", 3*time.Millisecond, codes.OK)
	call("StopContainer", 5*time.Millisecond, codes.OK)
	call("StopContainer", 20*time.Second, codes.NotFound)
	call("StopContainer", time.Hour, codes.DeadlineExceeded)
	call("PullImage", time.Second, codes.OK)
	call("PullImage", time.Second, codes.Unknown)
	ctx, reader := tell.Begin(t.Context(), "/runtime.v1.RuntimeService/GetContainerEvents", true)
	tell.Begin(t.Context(), "/runtime.v1.ImageService/PullImage", false)

	resp, page := overUnix(t, path, "/metrics")
	if got := resp.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("the type is %q", got)
	}
	got := parse(t, page)
	want := map[string]float64{
		`davit_cri_calls_total{rpc="StopContainer",code="OK"}`:                   2,
		`davit_cri_calls_total{rpc="StopContainer",code="NotFound"}`:             1,
		`davit_cri_calls_total{rpc="StopContainer",code="DeadlineExceeded"}`:     1,
		`davit_cri_calls_in_flight{rpc="StopContainer"}`:                         0,
		`davit_cri_calls_in_flight{rpc="GetContainerEvents"}`:                    1,
		`davit_cri_event_readers`:                                                1,
		`davit_cri_call_duration_seconds_bucket{rpc="StopContainer",le="0.005"}`: 2,
		`davit_cri_call_duration_seconds_bucket{rpc="StopContainer",le="10"}`:    2,
		`davit_cri_call_duration_seconds_bucket{rpc="StopContainer",le="30"}`:    3,
		`davit_cri_call_duration_seconds_bucket{rpc="StopContainer",le="120"}`:   3,
		`davit_cri_call_duration_seconds_bucket{rpc="StopContainer",le="+Inf"}`:  4,
		`davit_cri_call_duration_seconds_sum{rpc="StopContainer"}`:               3620.008,
		`davit_cri_call_duration_seconds_count{rpc="StopContainer"}`:             4,
		`davit_cri_call_duration_seconds_count{rpc="GetContainerEvents"}`:        0,
		`davit_image_pulls_total{result="pulled"}`:                               1,
		`davit_image_pulls_total{result="failed"}`:                               1,
		`davit_image_pulls_in_flight`:                                            1,
		`davit_containers{owner="cri",state="running"}`:                          3,
		`davit_containers{owner="cli",state="stopped"}`:                          1,
		`davit_sandboxes{owner="cri",state="ready"}`:                             2,
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || math.Abs(v-value) > 1e-6 {
			t.Errorf("%s is %v, there: %v; want %v", name, v, ok, value)
		}
	}
	for _, name := range []string{
		"process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds", "process_max_fds", "process_cpu_seconds_total",
		"process_start_time_seconds", "go_goroutines", "go_memstats_heap_alloc_bytes",
	} {
		if v, ok := got[name]; !ok || v < 0 || v == 0 && name != "process_cpu_seconds_total" {
			t.Errorf("%s is %v, there: %v", name, v, ok)
		}
	}
	if started := time.Unix(int64(got["process_start_time_seconds"]), 0); time.Since(started).Abs() > time.Hour {
		t.Errorf("the process started at %s", started)
	}
	if rss := got["process_resident_memory_bytes"]; rss < 1<<20 || rss > 4<<30 {
		t.Errorf("RSS is %v", rss)
	}
	reader.End(ctx, Outcome{Code: codes.Canceled})
	_, page = overUnix(t, path, "/metrics")
	if got := parse(t, page); got["davit_cri_event_readers"] != 0 || got[`davit_cri_calls_total{rpc="GetContainerEvents",code="Canceled"}`] != 1 {
		t.Error("the reader that has gone is there")
	}
	end()
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("somebody answers after the end")
	}
}

func TestProfiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions(t)
	o.Listener = l
	_, end := run(t, o)
	for page, want := range map[string]string{
		"/debug/pprof/":                   "goroutine",
		"/debug/pprof/goroutine?debug=1":  "goroutine profile: total",
		"/debug/pprof/heap?debug=1":       "heap profile",
		"/debug/pprof/cmdline":            "telemetry",
		"/debug/pprof/symbol":             "num_symbols",
		"/debug/pprof/profile?seconds=1":  "",
		"/debug/pprof/trace?seconds=0.05": "go 1",
	} {
		resp, body := overUnix(t, path, page)
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, want) || body == "" {
			t.Errorf("%s is %s, %d bytes", page, resp.Status, len(body))
		}
	}
	if resp, _ := overUnix(t, path, "/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("/ is %s", resp.Status)
	}
	// A profile under way does not hold the end up.
	go func() {
		if conn, err := net.Dial("unix", path); err == nil {
			_, _ = conn.Write([]byte("GET /debug/pprof/profile?seconds=20 HTTP/1.0\r\n\r\n"))
			_, _ = io.ReadAll(conn)
			_ = conn.Close()
		}
	}()
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	end()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %s", took)
	}
}

func TestLoopbackAlone(t *testing.T) {
	for address, want := range map[string]error{"127.0.0.1:0": nil, "0.0.0.0:0": errdefs.ErrInvalidArgument, ":0": errdefs.ErrInvalidArgument} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		o := testOptions(t)
		o.Listener = l
		if _, err := New(t.Context(), o); !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestText(t *testing.T) {
	page := &text{}
	page.family("a_total", "counter", "One \\ and\ntwo.")
	page.sample("a_total", 1.5, "x", "q\"b\\n\n", "y", "\xff")
	page.sample("a_total", math.Inf(1))
	page.sample("a_total", 1e21, "x", "")
	want := "# HELP a_total One \\\\ and\\ntwo.\n# TYPE a_total counter\n" +
		"a_total{x=\"q\\\"b\\\\n\\n\",y=\"\uFFFD\"} 1.5\na_total +Inf\na_total{x=\"\"} 1e+21\n"
	if diff := cmp.Diff(want, page.b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNobody holds a call that nobody is told of to its log's stages.
func TestNobody(t *testing.T) {
	var tell *Telemetry
	ctx, c := tell.Begin(t.Context(), "/a/B", false)
	c.End(ctx, Outcome{})
	if s := c.Stages(); s != "" {
		t.Errorf("stages %q", s)
	}
}
