package criadapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr/record"
)

// fakeRuntime answers a few calls as a test wants.
type fakeRuntime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	stop   func(context.Context, *runtimeapi.StopContainerRequest) error
	busy   func() // nil: RunPodSandbox and Version are done at once
	events func(runtimeapi.RuntimeService_GetContainerEventsServer) error
}

func (f fakeRuntime) StopContainer(ctx context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	return &runtimeapi.StopContainerResponse{}, f.stop(ctx, r)
}

func (f fakeRuntime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	if f.busy != nil {
		f.busy()
	}
	return &runtimeapi.VersionResponse{}, nil
}

func (f fakeRuntime) RunPodSandbox(context.Context, *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	if f.busy != nil {
		f.busy()
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: "a"}, nil
}

func (f fakeRuntime) GetContainerEvents(_ *runtimeapi.GetEventsRequest, s runtimeapi.RuntimeService_GetContainerEventsServer) error {
	return f.events(s)
}

// dial serves f behind calls, and returns a connection to it.
func dial(t *testing.T, c *calls, f fakeRuntime) *grpc.ClientConn {
	t.Helper()
	server := grpc.NewServer(c.options()...)
	runtimeapi.RegisterRuntimeServiceServer(server, f)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return conn
}

func newTestCalls(w *bytes.Buffer, level slog.Level, l Limits) *calls {
	return &calls{log: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), limits: l, now: time.Now}
}

func TestPanicIsInternal(t *testing.T) {
	var log bytes.Buffer
	client := runtimeapi.NewRuntimeServiceClient(dial(t, newTestCalls(&log, slog.LevelWarn, Limits{}), fakeRuntime{
		stop:   func(context.Context, *runtimeapi.StopContainerRequest) error { panic("oh\nno") },
		events: func(runtimeapi.RuntimeService_GetContainerEventsServer) error { panic("stream") },
	}))
	_, err := client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: "abc"})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "oh") {
		t.Errorf("got %v", err)
	}
	events, err := client.GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("a stream's panic is %v", err)
	}
	for _, want := range []string{"calls_test.go", `panic="oh\nno"`, "rpc=StopContainer", "object=abc", "code=Internal", "panic=stream"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
}

func TestCallsInFlight(t *testing.T) {
	var log bytes.Buffer
	const most = 2
	arrived, leave := make(chan bool), make(chan bool)
	busy := func() { arrived <- true; <-leave }
	client := runtimeapi.NewRuntimeServiceClient(dial(t, newTestCalls(&log, slog.LevelError, Limits{Calls: most}), fakeRuntime{
		stop: func(context.Context, *runtimeapi.StopContainerRequest) error { busy(); return nil }, busy: busy,
	}))
	acts := func() error {
		_, err := client.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{})
		return err
	}
	asks := func() error { _, err := client.Version(t.Context(), &runtimeapi.VersionRequest{}); return err }
	waits := func() error {
		_, err := client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{})
		return err
	}
	answers, flying := make(chan error), 0
	fly := func(call func() error, n int) {
		t.Helper()
		for range n {
			go func() { answers <- call() }()
			select {
			case <-arrived:
				flying++
			case err := <-answers:
				t.Errorf("refused: %v", err)
			}
		}
	}
	refused := func(call func() error) {
		t.Helper()
		if err := call(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one call too many is %v", err)
		}
	}
	fly(waits, most+1) // a node that is drained, which is to be told of and worked with
	fly(acts, most)
	refused(acts)
	fly(asks, most)
	refused(asks)
	fly(waits, 1)
	close(leave)
	for range flying {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	go func() { <-arrived }()
	if err := acts(); err != nil {
		t.Errorf("after the others ended: %v", err)
	}
}

func TestLogOfCalls(t *testing.T) {
	var log bytes.Buffer
	c := newTestCalls(&log, slog.LevelWarn, Limits{Slow: time.Second})
	clock := time.Unix(0, 0)
	step := time.Duration(0)
	c.now = func() time.Time { clock = clock.Add(step); return clock }
	var answer error
	client := runtimeapi.NewRuntimeServiceClient(dial(t, c, fakeRuntime{
		stop: func(context.Context, *runtimeapi.StopContainerRequest) error { return answer },
	}))
	tests := []struct {
		name   string
		took   time.Duration
		answer error
		want   string // empty: no line
	}{
		{"quick", time.Millisecond, nil, ""},
		{"slow", 2 * time.Second, nil, `level=WARN msg="slow call" rpc=StopContainer code=OK took=2s object=abc`},
		{"failed", time.Millisecond, errors.New("no\nway"), `level=WARN msg="call failed" rpc=StopContainer code=Unknown took=1ms object=abc error="no; way"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log.Reset()
			step, answer = tt.took, tt.answer
			_, err := client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: "abc"})
			if (err == nil) != (tt.answer == nil) {
				t.Errorf("got %v", err)
			}
			got := log.String()
			if tt.want == "" && got != "" || strings.Count(got, "\n") > 1 || !strings.Contains(got, tt.want) {
				t.Errorf("logged %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	var log bytes.Buffer
	conn := dial(t, newTestCalls(&log, slog.LevelError, Limits{Message: 16 << 20}), fakeRuntime{
		stop: func(context.Context, *runtimeapi.StopContainerRequest) error { return nil },
	})
	labels := map[string]string{}
	for i := range 100_000 {
		labels[fmt.Sprint(i)] = "x"
	}
	pod := func(name string, labels map[string]string) *runtimeapi.RunPodSandboxRequest {
		return &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: name}, Labels: labels,
		}}
	}
	tests := []struct {
		name    string
		request any
		want    codes.Code
	}{
		{"fine", pod("a", map[string]string{"a": "b\n"}), codes.OK},
		{"nil nested", &runtimeapi.RunPodSandboxRequest{}, codes.OK}, // the concern's to refuse
		{"labels", pod("a", labels), codes.InvalidArgument},
		{"300 characters", pod(strings.Repeat("a", 300), nil), codes.InvalidArgument},
		{"right to left", pod("a\u202eb", nil), codes.InvalidArgument},
		{"line in a name", pod("a\nb", nil), codes.InvalidArgument},
		{"NUL in a label", pod("a", map[string]string{"a": "b\x00"}), codes.InvalidArgument},
		{"long ID", &runtimeapi.StopContainerRequest{ContainerId: strings.Repeat("a", 300)}, codes.InvalidArgument},
		{"NUL in an ID", &runtimeapi.StopContainerRequest{ContainerId: "a\x00"}, codes.InvalidArgument},
		{"random bytes", raw("\xff\xfe\x00random"), codes.InvalidArgument},
		{"not UTF-8", raw("\x0a\x02a\xff"), codes.InvalidArgument},
		{"cut short", raw("\x0a\x20abc"), codes.InvalidArgument},
		{"100 MB", raw(make([]byte, 100<<20)), codes.ResourceExhausted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method := "StopContainer"
			if _, ok := tt.request.(*runtimeapi.RunPodSandboxRequest); ok {
				method = "RunPodSandbox"
			}
			err := conn.Invoke(t.Context(), "/runtime.v1.RuntimeService/"+method, tt.request,
				&runtimeapi.StopContainerResponse{}, grpc.ForceCodec(rawCodec{}))
			if got := status.Code(err); got != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// raw are the bytes of a request as they are sent.
type raw []byte

// rawCodec sends raw as it is.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	if r, ok := v.(raw); ok {
		return r, nil
	}
	return proto.Marshal(v.(proto.Message))
}

func (rawCodec) Unmarshal(data []byte, v any) error { return proto.Unmarshal(data, v.(proto.Message)) }

// TestStagesInTheLog holds a slow call's line to where its time went.
func TestStagesInTheLog(t *testing.T) {
	base := t.TempDir()
	paths := record.Paths{Root: base + "/root", RunRoot: base + "/run"}
	if _, err := record.EnsureBoot(paths); err != nil {
		t.Fatal(err)
	}
	d, err := record.Open[int, int](record.Options{Paths: paths, Kind: "containers"})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	client := runtimeapi.NewRuntimeServiceClient(dial(t, newTestCalls(&log, slog.LevelWarn, Limits{Slow: time.Millisecond}), fakeRuntime{
		stop: func(ctx context.Context, _ *runtimeapi.StopContainerRequest) error {
			op, err := d.Create(ctx, record.Meta{ID: "abc", Owner: record.OwnerCRI}, 1, 1, record.CreateOptions{Stage: "rootfs"})
			if err != nil {
				return err
			}
			time.Sleep(5 * time.Millisecond)
			return op.End()
		},
	}))
	if _, err := client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: "abc"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `object=abc stages="container create rootfs `) {
		t.Errorf("logged %s", log.String())
	}
}
