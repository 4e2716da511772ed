package streaming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
)

const (
	v4 = "v4.channel.k8s.io"
	v5 = "v5.channel.k8s.io"
)

// cat echoes its input, says so on stderr, and exits with 3.
func cat(_ context.Context, e ctr.Exec) (int, error) {
	_, err := io.Copy(e.Streams.Stdout, e.Streams.Stdin)
	_, _ = io.WriteString(e.Streams.Stderr, "end")
	return 3, err
}

func TestTokens(t *testing.T) {
	now := time.Now()
	s, _ := serve(t, &engine{exec: cat}, Options{Now: func() time.Time { return now }})
	get := func(url string) int {
		t.Helper()
		resp, err := http.Post(url, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	url := execURL(t, s, &runtimeapi.ExecRequest{Stdout: true})
	token := url[strings.LastIndex(url, "/")+1:]
	if len(token) != 22 {
		t.Errorf("token %q has not 128 bits", token)
	}
	for what, url := range map[string]string{
		"guessed":         url[:len(url)-1] + "_",
		"of another call": strings.Replace(url, "/exec/", "/attach/", 1),
		"none":            strings.TrimSuffix(url, token),
		"below it":        url + "/x",
	} {
		if code := get(url); code != http.StatusNotFound {
			t.Errorf("%s: %d", what, code)
		}
	}
	// It is taken, even if its client does not know how to go on.
	if code := get(url); code != http.StatusBadRequest {
		t.Errorf("the right one: %d", code)
	}
	if code := get(url); code != http.StatusNotFound {
		t.Errorf("the right one again: %d", code)
	}
	url = execURL(t, s, &runtimeapi.ExecRequest{Stdout: true})
	now = now.Add(time.Minute)
	if code := get(url); code != http.StatusNotFound {
		t.Errorf("expired: %d", code)
	}
	for range maxTickets {
		execURL(t, s, &runtimeapi.ExecRequest{Stdout: true})
	}
	if _, err := s.Exec(&runtimeapi.ExecRequest{Cmd: []string{"x"}, Stdout: true}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("one too many: %v", err)
	}
	now = now.Add(time.Minute)
	execURL(t, s, &runtimeapi.ExecRequest{Stdout: true})
	http.DefaultClient.CloseIdleConnections()
}

func TestCalls(t *testing.T) {
	s, _ := serve(t, &engine{}, Options{})
	for _, tt := range []struct {
		name string
		r    *runtimeapi.ExecRequest
		ok   bool
	}{
		{"no stream", &runtimeapi.ExecRequest{Cmd: []string{"x"}}, false},
		{"terminal and stderr", &runtimeapi.ExecRequest{Cmd: []string{"x"}, Tty: true, Stdout: true, Stderr: true}, false},
		{"no command", &runtimeapi.ExecRequest{Stdout: true}, false},
		{"terminal", &runtimeapi.ExecRequest{Cmd: []string{"x"}, Tty: true, Stdin: true}, true},
	} {
		if _, err := s.Exec(tt.r); (err == nil) != tt.ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("exec, %s: %v", tt.name, err)
		}
		if tt.name == "no command" {
			continue
		}
		_, err := s.Attach(&runtimeapi.AttachRequest{Stdin: tt.r.Stdin, Stdout: tt.r.Stdout, Stderr: tt.r.Stderr, Tty: tt.r.Tty})
		if (err == nil) != tt.ok || (err != nil && !errdefs.IsInvalidArgument(err)) {
			t.Errorf("attach, %s: %v", tt.name, err)
		}
	}
	for port, ok := range map[int32]bool{0: false, -1: false, 65536: false, 80: true} {
		if _, err := s.PortForward(&runtimeapi.PortForwardRequest{Port: []int32{port}}); (err == nil) != ok {
			t.Errorf("port %d: %v", port, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "10.0.0.1:0": false, "0.0.0.0:0": false, "localhost:0": false, "127.0.0.1": false,
	} {
		if err := checkAddress(Options{Address: address}); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestExec runs a command by every protocol: the client ends its input and gets
// the rest of the output and the exit code.
func TestExec(t *testing.T) {
	s, _ := serve(t, &engine{exec: cat}, Options{})
	all := &runtimeapi.ExecRequest{Stdin: true, Stdout: true, Stderr: true}
	failed := status{
		Status: statusFailure, Reason: "NonZeroExitCode", Message: "command terminated with non-zero exit code: 3",
		Details: &details{Causes: []cause{{Type: "ExitCode", Message: "3"}}},
	}
	t.Run("SPDY", func(t *testing.T) {
		c := connect(t, execURL(t, s, all), v4)
		c.create(t, "error")
		c.create(t, "stdin")
		c.create(t, "stdout")
		c.create(t, "stderr")
		_, _ = io.WriteString(c.streams["stdin"], "hello")
		_ = c.streams["stdin"].Close()
		if got := string(readAll(t, c.streams["stdout"])); got != "hello" {
			t.Errorf("stdout %q", got)
		}
		if got := string(readAll(t, c.streams["stderr"])); got != "end" {
			t.Errorf("stderr %q", got)
		}
		if d := cmp.Diff(failed, c.status(t)); d != "" {
			t.Error(d)
		}
	})
	t.Run("SPDY v2", func(t *testing.T) {
		c := connect(t, execURL(t, s, all), "v2.channel.k8s.io")
		for _, kind := range []string{"error", "stdin", "stdout", "stderr"} {
			c.create(t, kind)
		}
		_ = c.streams["stdin"].Close()
		if got := string(readAll(t, c.streams["error"])); got != failed.Message {
			t.Errorf("error %q", got)
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		c := connectWebSocket(t, execURL(t, s, all), v5, v4)
		c.send(t, 0, "hello")
		c.send(t, 255, "\x00")
		got := c.messages(t)
		if got[1] != "hello" || got[2] != "end" {
			t.Errorf("got %q", got)
		}
		if d := cmp.Diff(failed, parseStatus(t, []byte(got[3]))); d != "" {
			t.Error(d)
		}
	})
}

// TestFailure: a command that could not be run is told in words.
func TestFailure(t *testing.T) {
	s, _ := serve(t, &engine{exec: func(context.Context, ctr.Exec) (int, error) { return -1, errors.New("no such command") }}, Options{})
	c := connectWebSocket(t, execURL(t, s, &runtimeapi.ExecRequest{Stdout: true}), v4)
	want := status{Status: statusFailure, Reason: "InternalError", Message: "no such command", Code: 500}
	if d := cmp.Diff(want, parseStatus(t, []byte(c.messages(t)[3]))); d != "" {
		t.Error(d)
	}
}

// TestUnreadInput: a client that still sends gets the exit code, not a reset.
func TestUnreadInput(t *testing.T) {
	s, _ := serve(t, &engine{exec: func(_ context.Context, e ctr.Exec) (int, error) {
		_, _ = e.Streams.Stdin.Read(make([]byte, 10))
		time.Sleep(100 * time.Millisecond)
		return 7, nil
	}}, Options{})
	c := connect(t, execURL(t, s, &runtimeapi.ExecRequest{Stdin: true}), v4)
	c.create(t, "error")
	stdin := c.create(t, "stdin")
	go func() {
		for range 200 {
			if _, err := stdin.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	if st := c.status(t); st.Details == nil || st.Details.Causes[0].Message != "7" {
		t.Errorf("%+v", st)
	}
}

// TestResize: the terminal's sizes arrive in their order.
func TestResize(t *testing.T) {
	s, _ := serve(t, &engine{exec: func(_ context.Context, e ctr.Exec) (int, error) {
		if !e.Terminal {
			return 1, nil
		}
		for range 2 {
			size := <-e.Streams.Resize
			_, _ = fmt.Fprintf(e.Streams.Stdout, "%dx%d ", size.Width, size.Height)
		}
		return 0, nil
	}}, Options{})
	r := &runtimeapi.ExecRequest{Stdin: true, Stdout: true, Tty: true}
	sizes := []string{`{"Width":80,"Height":24}`, `{"Width":100,"Height":30}`}
	t.Run("SPDY", func(t *testing.T) {
		c := connect(t, execURL(t, s, r), v4)
		for _, kind := range []string{"error", "stdin", "stdout", "resize"} {
			c.create(t, kind)
		}
		for _, size := range sizes {
			_, _ = io.WriteString(c.streams["resize"], size)
		}
		if got := string(readAll(t, c.streams["stdout"])); got != "80x24 100x30 " {
			t.Errorf("got %q", got)
		}
		if st := c.status(t); st.Status != statusSuccess {
			t.Errorf("%+v", st)
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		c := connectWebSocket(t, execURL(t, s, r), v5)
		for _, size := range sizes {
			c.send(t, 4, size)
		}
		if got := c.messages(t); got[1] != "80x24 100x30 " {
			t.Errorf("got %q", got)
		}
	})
}

// TestClientGoes: what a session runs is told, whatever it waits for.
// endless is a client that begins a message and never ends it.
type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) {
	if e.sent > 64<<20 {
		return 0, errors.New("64 MiB were read")
	}
	n := copy(p, strings.Repeat("1", len(p)))
	e.sent += n
	return n, nil
}

// A message is of bounded length, the terminal sizes of a session are not.
func TestSizesOfHostileClient(t *testing.T) {
	client := &endless{}
	sizes := make(chan ctr.Size)
	go followSizes(t.Context(), io.MultiReader(strings.NewReader(`{"Width":1,"Height":2} {"Width":`), client), sizes)
	if got := <-sizes; got != (ctr.Size{Width: 1, Height: 2}) {
		t.Errorf("size %v", got)
	}
	if got, ok := <-sizes; ok || client.sent > 1<<20 {
		t.Errorf("size %v, %d bytes were read", got, client.sent)
	}
	many := strings.Repeat(`{"Width":80,"Height":24}`+strings.Repeat(" ", 1000), 1000)
	sizes = make(chan ctr.Size)
	go followSizes(t.Context(), strings.NewReader(many), sizes)
	n := 0
	for range sizes {
		n++
	}
	if n != 1000 {
		t.Errorf("%d sizes of 1000", n)
	}
}

func TestClientGoes(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    *runtimeapi.ExecRequest
		sent int  // messages of input that nobody reads, more than the protocols queue
		busy bool // the process writes what nobody reads
	}{
		{name: "while nothing happens", r: &runtimeapi.ExecRequest{Stdout: true}},
		{name: "while its input is not read", r: &runtimeapi.ExecRequest{Stdin: true, Stdout: true}, sent: 150},
		{name: "while it does not read", r: &runtimeapi.ExecRequest{Stdout: true}, busy: true},
	} {
		for _, protocol := range []string{"SPDY", "WebSocket"} {
			t.Run(tt.name+" by "+protocol, func(t *testing.T) {
				began, ended := make(chan struct{}), make(chan error, 1)
				s, _ := serve(t, &engine{exec: func(ctx context.Context, e ctr.Exec) (int, error) {
					close(began)
					for tt.busy {
						if _, err := e.Streams.Stdout.Write(make([]byte, 64<<10)); err != nil {
							break
						}
					}
					<-ctx.Done()
					ended <- context.Cause(ctx)
					return -1, ctx.Err()
				}}, Options{})
				r := &runtimeapi.ExecRequest{Stdin: tt.r.Stdin, Stdout: tt.r.Stdout}
				var c *client
				if protocol == "SPDY" {
					c = connect(t, execURL(t, s, r), v4)
					c.create(t, "error")
					c.create(t, "stdout")
					if tt.r.Stdin {
						c.create(t, "stdin")
					}
				} else {
					c = connectWebSocket(t, execURL(t, s, r), v5)
				}
				<-began
				for range tt.sent {
					if protocol == "SPDY" {
						_, _ = io.WriteString(c.streams["stdin"], "input")
					} else {
						c.send(t, 0, "input")
					}
				}
				time.Sleep(100 * time.Millisecond)
				select {
				case err := <-ended:
					t.Fatalf("ended before the client went: %v", err)
				default:
				}
				_ = c.raw.Close()
				select {
				case <-ended:
				case <-time.After(5 * time.Second):
					t.Error("it was not told")
				}
			})
		}
	}
}

// TestHalfOpen: a client that does not create its streams is left, and nothing
// of it stays.
func TestHalfOpen(t *testing.T) {
	s, _ := serve(t, &engine{exec: cat}, Options{Creation: 100 * time.Millisecond})
	c := connect(t, execURL(t, s, &runtimeapi.ExecRequest{Stdin: true, Stdout: true}), v4)
	c.create(t, "error")
	select {
	case <-c.conn.CloseChan():
	case <-time.After(5 * time.Second):
		t.Error("the connection stays")
	}
}

// TestIdle: a connection that carries nothing ends.
func TestIdle(t *testing.T) {
	run := func(ctx context.Context, _ ctr.Exec) (int, error) { <-ctx.Done(); return -1, ctx.Err() }
	s, _ := serve(t, &engine{exec: run}, Options{Idle: 200 * time.Millisecond})
	c := connect(t, execURL(t, s, &runtimeapi.ExecRequest{Stdout: true}), v4)
	c.create(t, "error")
	c.create(t, "stdout")
	select {
	case <-c.conn.CloseChan():
	case <-time.After(5 * time.Second):
		t.Error("the connection stays")
	}
}

// TestF44ClientThatDoesNotRead: an attached client that takes nothing of what waits
// for it is dropped; one that is slow is not, nor one that nothing waits for.
func TestF44ClientThatDoesNotRead(t *testing.T) {
	ended := make(chan error, 1)
	output := make([]byte, 16<<20)
	attach := func(ctx context.Context, s ctr.Streams) error {
		for rest := output; len(rest) > 0 && ctx.Err() == nil; rest = rest[64<<10:] {
			_, _ = s.Stdout.Write(rest[:64<<10])
		}
		ended <- context.Cause(ctx)
		<-ctx.Done()
		return ctx.Err()
	}
	t.Run("stuck", func(t *testing.T) {
		s, _ := serve(t, &engine{attach: attach}, Options{Stall: 500 * time.Millisecond})
		url, err := s.Attach(&runtimeapi.AttachRequest{Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		connectWebSocket(t, url, v5)
		select {
		case err := <-ended:
			if !errors.Is(err, errStuck) {
				t.Errorf("ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("it is not dropped")
		}
	})
	t.Run("slow", func(t *testing.T) {
		s, _ := serve(t, &engine{attach: attach}, Options{Stall: 500 * time.Millisecond})
		url, err := s.Attach(&runtimeapi.AttachRequest{Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		c := connectWebSocket(t, url, v5)
		go func() {
			buf := make([]byte, 1<<20)
			for {
				if _, err := c.raw.Read(buf); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestStop: sessions end with the server.
func TestStop(t *testing.T) {
	ended := make(chan struct{}, 2)
	wait := func(ctx context.Context, _ ctr.Streams) error { <-ctx.Done(); ended <- struct{}{}; return ctx.Err() }
	s, stop := serve(t, &engine{attach: wait}, Options{})
	for range 2 {
		url, err := s.Attach(&runtimeapi.AttachRequest{Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		connectWebSocket(t, url, v5)
	}
	time.Sleep(50 * time.Millisecond)
	stop()
	if len(ended) != 2 {
		t.Errorf("%d of 2 sessions were told", len(ended))
	}
}

// TestDropped: many clients that attach, resize and vanish leave nothing behind,
// which serve's end holds.
func TestDropped(t *testing.T) {
	s, _ := serve(t, &engine{attach: func(ctx context.Context, s ctr.Streams) error {
		for {
			select {
			case _, ok := <-s.Resize:
				if !ok {
					<-ctx.Done()
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}}, Options{})
	for i := range 100 {
		url, err := s.Attach(&runtimeapi.AttachRequest{Stdin: true, Stdout: true, Tty: true})
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			c := connectWebSocket(t, url, v5)
			c.send(t, 4, `{"Width":80,"Height":24}`)
			c.send(t, 4, `garbage`)
			_ = c.raw.Close()
			continue
		}
		c := connect(t, url, v4)
		for _, kind := range []string{"error", "stdin", "stdout", "resize"} {
			c.create(t, kind)
		}
		_, _ = io.WriteString(c.streams["resize"], `{"Width":`+strconv.Itoa(i)+`,"Height":24}`)
		_, _ = c.raw.Write([]byte("garbage"))
		_ = c.raw.Close()
	}
}

// crumbs is a connection of which the kernel takes a byte, and no more in time.
type crumbs struct{ net.Conn }

func (crumbs) Write([]byte) (int, error)        { return 1, os.ErrDeadlineExceeded }
func (crumbs) SetWriteDeadline(time.Time) error { return nil }

// TestF44Crumbs: a client is let go whose kernel takes some bytes for it now and then.
func TestF44Crumbs(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &wire{Conn: crumbs{}, s: &session{cancel: cancel, stall: time.Minute}}
	if n, err := w.Write(make([]byte, 100)); n != 1 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(context.Cause(ctx), errStuck) {
		t.Errorf("%d, %v; the session: %v", n, err, context.Cause(ctx))
	}
}
