package streaming

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/davit-containers/davit/ctr"
)

var errStreams = errors.New("the client did not create its streams in time")

// remote is the client's side of a remote command.
type remote struct {
	stdin, resize  io.Reader // nil where there is none
	stdout, stderr io.WriteCloser
	status         io.Writer
	// codes says that the client takes a status in JSON, with an exit code.
	codes bool
	close func() error
}

// serveRemote upgrades the request, runs what the client wants with its streams,
// and tells it how that ended.
func (s *Server) serveRemote(w http.ResponseWriter, r *http.Request, want wanted, run func(context.Context, ctr.Streams) (int, error)) {
	open := s.openSPDY
	if wsstream.IsWebSocketRequest(r) {
		open = s.openWebSocket
	}
	c, err := open(w, r, want)
	if err != nil {
		s.o.Log.Debug("a streaming client was refused", "error", err)
		return
	}
	var sizes sync.WaitGroup
	streams := ctr.Streams{Stdin: c.stdin, Dropped: c.lost}
	if c.stdout != nil {
		streams.Stdout = c.stdout
	}
	if c.stderr != nil {
		streams.Stderr = c.stderr
	}
	if c.resize != nil {
		resized := make(chan ctr.Size)
		streams.Resize = resized
		sizes.Go(func() { followSizes(r.Context(), c.resize, resized) })
	}
	code, err := run(r.Context(), streams)
	if session, ok := w.(*session); ok {
		session.ending()
	}
	c.end(code, err)
	sizes.Wait()
}

// lost tells the client what it missed.
func (c *remote) lost(n int64) {
	to := c.stderr
	if to == nil {
		to = c.stdout
	}
	if to != nil {
		_, _ = fmt.Fprintf(to, "\r\n[%d bytes of output were not read in time and are lost]\r\n", n)
	}
}

// end sends the last words and closes the connection. The client may be gone.
func (c *remote) end(code int, err error) {
	for _, out := range []io.WriteCloser{c.stdout, c.stderr} {
		if out != nil {
			_ = out.Close()
		}
	}
	st := statusOf(code, err)
	switch {
	case c.codes:
		// A status has no value that JSON has not.
		data, _ := json.Marshal(st)
		_, _ = c.status.Write(data)
	case st.Status != statusSuccess:
		_, _ = io.WriteString(c.status, st.Message)
	}
	_ = c.close()
}

// maxSize is plenty for the message that a terminal's size is.
const maxSize = 16 << 10

// followSizes passes the client's terminal sizes on.
func followSizes(ctx context.Context, from io.Reader, to chan<- ctr.Size) {
	defer close(to)
	limited := &io.LimitedReader{R: from}
	decoder := json.NewDecoder(limited)
	for {
		limited.N = maxSize // the decoder keeps what is not a whole message yet
		var size remotecommand.TerminalSize
		if decoder.Decode(&size) != nil {
			return
		}
		select {
		case to <- ctr.Size{Width: size.Width, Height: size.Height}:
		case <-ctx.Done():
			return
		}
	}
}

// openSPDY waits for the client to create its streams. What goes wrong before the
// upgrade is answered in HTTP.
func (s *Server) openSPDY(w http.ResponseWriter, r *http.Request, want wanted) (*remote, error) {
	protocol, err := httpstream.Handshake(r, w, remotecommand.SupportedStreamingProtocols)
	if err != nil {
		return nil, err
	}
	type created struct {
		httpstream.Stream
		replied <-chan struct{}
	}
	streams := make(chan created)
	full := make(chan struct{})
	defer close(full)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, replied <-chan struct{}) error {
		select {
		case streams <- created{stream, replied}:
			return nil
		case <-full:
			return errors.New("a stream that nobody asked for")
		}
	})
	if conn == nil {
		return nil, errors.New("the request is no upgrade")
	}
	conn.SetIdleTimeout(s.o.Idle)
	c := &remote{close: conn.Close, codes: protocol == remotecommand.StreamProtocolV4Name}
	resizes := c.codes || protocol == remotecommand.StreamProtocolV3Name
	timer := time.NewTimer(s.o.Creation)
	defer timer.Stop()
	for !c.complete(want, resizes) {
		select {
		case st := <-streams:
			if err := c.add(st.Stream); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			select {
			case <-st.replied:
			case <-r.Context().Done():
			}
		case <-r.Context().Done():
			return nil, errors.Join(context.Cause(r.Context()), conn.Close())
		case <-timer.C:
			return nil, errors.Join(errStreams, conn.Close())
		}
	}
	return c, nil
}

// add takes a stream that the client has created.
func (c *remote) add(stream httpstream.Stream) error {
	switch kind := stream.Headers().Get(remotecommand.StreamType); kind {
	case remotecommand.StreamTypeError:
		c.status = stream
	case remotecommand.StreamTypeStdin:
		c.stdin = stream
	case remotecommand.StreamTypeStdout:
		c.stdout = stream
	case remotecommand.StreamTypeStderr:
		c.stderr = stream
	case remotecommand.StreamTypeResize:
		c.resize = stream
	default:
		return fmt.Errorf("the client created a stream of type %q", kind)
	}
	return nil
}

// complete tells whether the client has created all streams that were asked for.
func (c *remote) complete(want wanted, resizes bool) bool {
	return c.status != nil && (c.stdin != nil || !want.stdin) && (c.stdout != nil || !want.stdout) &&
		(c.stderr != nil || !want.stderr) && (c.resize != nil || !want.tty || !resizes)
}

// The protocols of remote commands over a WebSocket; those in base64 are for
// clients that have no binary messages.
const (
	v4Binary = "v4." + wsstream.ChannelWebSocketProtocol
	v4Base64 = "v4." + wsstream.Base64ChannelWebSocketProtocol
)

// openWebSocket upgrades to a WebSocket, on which each message names its stream.
func (s *Server) openWebSocket(w http.ResponseWriter, r *http.Request, want wanted) (*remote, error) {
	channels := make([]wsstream.ChannelType, remotecommand.StreamResize+1)
	channels[remotecommand.StreamErr] = wsstream.WriteChannel
	channels[remotecommand.StreamResize] = wsstream.ReadChannel
	if want.stdin {
		channels[remotecommand.StreamStdIn] = wsstream.ReadChannel
	}
	if want.stdout {
		channels[remotecommand.StreamStdOut] = wsstream.WriteChannel
	}
	if want.stderr {
		channels[remotecommand.StreamStdErr] = wsstream.WriteChannel
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		"":                                      {Binary: true, Channels: channels},
		wsstream.ChannelWebSocketProtocol:       {Binary: true, Channels: channels},
		wsstream.Base64ChannelWebSocketProtocol: {Channels: channels},
		v4Binary:                                {Binary: true, Channels: channels},
		v4Base64:                                {Channels: channels},
		remotecommand.StreamProtocolV5Name:      {Binary: true, Channels: channels},
	})
	conn.SetIdleTimeout(s.o.Idle)
	protocol, streams, err := conn.Open(w, r)
	if err != nil {
		return nil, fmt.Errorf("upgrading to a WebSocket: %w", err)
	}
	c := &remote{close: conn.Close, status: streams[remotecommand.StreamErr]}
	switch protocol {
	case v4Binary, v4Base64, remotecommand.StreamProtocolV5Name:
		c.codes = true
	}
	first := c.status
	if want.stderr {
		c.stderr = streams[remotecommand.StreamStdErr]
		first = c.stderr
	}
	if want.stdout {
		c.stdout = streams[remotecommand.StreamStdOut]
		first = c.stdout
	}
	if want.stdin {
		c.stdin = streams[remotecommand.StreamStdIn]
	}
	c.resize = streams[remotecommand.StreamResize]
	// An empty message tells the client that the session stands.
	_, _ = first.Write(nil)
	return c, nil
}

// status is how a remote command ended, in the words of Kubernetes' API
// (meta/v1 Status).
type status struct {
	Status  string   `json:"status"`
	Message string   `json:"message,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Details *details `json:"details,omitempty"`
	Code    int      `json:"code,omitempty"`
}

type details struct {
	Causes []cause `json:"causes"`
}

// cause has its type under the name "reason".
type cause struct {
	Type    string `json:"reason"`
	Message string `json:"message"`
}

const (
	statusSuccess = "Success"
	statusFailure = "Failure"
)

// statusOf says how a command ended: with an exit code, or not even that.
func statusOf(code int, err error) status {
	switch {
	case err != nil:
		return status{
			Status: statusFailure, Reason: "InternalError", Code: http.StatusInternalServerError,
			Message: err.Error(),
		}
	case code != 0:
		return status{
			Status: statusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %d", code),
			Details: &details{Causes: []cause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(code)}}},
		}
	}
	return status{Status: statusSuccess}
}
