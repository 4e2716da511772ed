package streaming

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/davit-containers/davit/ctr"
)

const (
	defaultAddress = "127.0.0.1:0"
	// defaultIdle is how long a connection may carry nothing.
	defaultIdle = 4 * time.Hour
	// defaultStall is how long output may wait for somebody who is attached.
	defaultStall = time.Minute
	// defaultCreation is how long a client may take to create its streams.
	defaultCreation = 30 * time.Second
	// headerTimeout bounds how long a request may take to come.
	headerTimeout = 10 * time.Second
	// maxHeader is plenty for an upgrade.
	maxHeader = 64 << 10
	// stopTimeout bounds the wait for sessions that were told to end.
	stopTimeout = 10 * time.Second
)

// Containers are what remote commands run in. *ctr.Controller are some.
type Containers interface {
	// Exec runs a process and returns its exit code.
	Exec(ctx context.Context, id string, e ctr.Exec) (code int, err error)
	// AttachLossy returns when the container has ended.
	AttachLossy(ctx context.Context, id string, s ctr.Streams) error
}

// Pods are what ports are forwarded to. *pod.Controller are some.
type Pods interface {
	// Forward returns when the connection to the port has ended.
	Forward(ctx context.Context, id string, port uint16, client io.ReadWriteCloser) error
}

// Options say where to serve and how.
type Options struct {
	// Address is host:port; empty is a free port of 127.0.0.1. Any other address
	// than loopback needs TLS.
	Address string
	// TLS is nil for plain HTTP.
	TLS *tls.Config
	// Idle ends connections that carry nothing for so long, 0 is four hours;
	// Creation those whose client has not created its streams, 0 is 30 seconds.
	Idle, Creation time.Duration
	// Stall ends an attachment whose client takes none of the output that waits for
	// it for so long; 0 is a minute.
	Stall time.Duration
	Log   *slog.Logger
	Now   func() time.Time
}

// logged is done once klog, whose logger is the process's, has the first Server's.
var logged = sync.OnceValue(func() *sync.Once { return new(sync.Once) })

// Server serves sessions.
type Server struct {
	o        Options
	ctrs     Containers
	pods     Pods
	tickets  tickets
	listener net.Listener
	http     *http.Server
	base     url.URL

	mu       sync.Mutex
	stopping bool
	sessions sync.WaitGroup
}

// Listen returns a Server that listens already, so that its URLs are good, and
// is to be given to Serve or Close. ErrInvalidArgument if the address may not be
// served.
func Listen(o Options, ctrs Containers, pods Pods) (*Server, error) {
	if o.Address == "" {
		o.Address = defaultAddress
	}
	if o.Idle == 0 {
		o.Idle = defaultIdle
	}
	if o.Stall == 0 {
		o.Stall = defaultStall
	}
	if o.Creation == 0 {
		o.Creation = defaultCreation
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := checkAddress(o); err != nil {
		return nil, err
	}
	logged().Do(func() { klog.SetSlogLogger(slog.New(kubeLog{o.Log.Handler()})) })
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for streams: %w", err)
	}
	s := &Server{
		o: o, ctrs: ctrs, pods: pods, listener: l, base: url.URL{Scheme: "http", Host: l.Addr().String()},
		tickets: tickets{now: o.Now, waiting: map[string]ticket{}},
	}
	if o.TLS != nil {
		s.base.Scheme = "https"
		config := o.TLS.Clone()
		// An upgrade is HTTP/1.1's.
		config.NextProtos = []string{"http/1.1"}
		s.listener = tls.NewListener(l, config)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{kind}/{token}", s.redeem)
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, IdleTimeout: headerTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// checkAddress refuses to serve in the clear what others can reach.
func checkAddress(o Options) error {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return fmt.Errorf("address for streams %q: %w: %w", o.Address, errdefs.ErrInvalidArgument, err)
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return fmt.Errorf("address for streams %q needs an IP address: %w", o.Address, errdefs.ErrInvalidArgument)
	}
	if !ip.IsLoopback() && o.TLS == nil {
		return fmt.Errorf("address for streams %q can be reached from elsewhere and needs TLS: %w", o.Address, errdefs.ErrInvalidArgument)
	}
	if ip.IsUnspecified() {
		return fmt.Errorf("address for streams %q is in the URLs that clients get and cannot stand for all: %w", o.Address, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Serve serves until ctx ends. Then sessions are ended, and what they ran with
// them, but for containers; it returns when they are gone, or after ten seconds.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	err := s.http.Serve(s.listener)
	if !errors.Is(err, http.ErrServerClosed) {
		err = fmt.Errorf("serving streams: %w", err)
	} else {
		err = nil
	}
	cancel()
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	gone := make(chan struct{})
	go func() { s.sessions.Wait(); close(gone) }()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
		s.o.Log.Warn("some streaming sessions do not end")
	}
	return err
}

// Close closes a Server that was not served.
func (s *Server) Close() error { return s.listener.Close() }

// redeem serves the session that a ticket stands for.
func (s *Server) redeem(w http.ResponseWriter, r *http.Request) {
	serve, ok := s.tickets.redeem(r.PathValue("kind"), r.PathValue("token"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
		return
	}
	s.sessions.Add(1)
	s.mu.Unlock()
	defer s.sessions.Done()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	session := &session{ResponseWriter: w, cancel: cancel, stall: s.o.Idle}
	defer session.finish()
	stop := context.AfterFunc(ctx, session.drop)
	defer stop()
	serve(session, r.WithContext(ctx))
}

func (s *Server) url(kind string, serve func(http.ResponseWriter, *http.Request)) (string, error) {
	token, err := s.tickets.issue(kind, serve)
	if err != nil {
		return "", err
	}
	return s.base.JoinPath(kind, token).String(), nil
}

// Exec returns the URL at which a client runs the process. ErrInvalidArgument
// if it is not one that can be run.
func (s *Server) Exec(r *runtimeapi.ExecRequest) (string, error) {
	want := wanted{stdin: r.Stdin, stdout: r.Stdout, stderr: r.Stderr, tty: r.Tty}
	if err := want.check(); err != nil {
		return "", err
	}
	if len(r.Cmd) == 0 {
		return "", fmt.Errorf("no command to run: %w", errdefs.ErrInvalidArgument)
	}
	return s.url("exec", func(w http.ResponseWriter, req *http.Request) {
		s.serveRemote(w, req, want, func(ctx context.Context, streams ctr.Streams) (int, error) {
			return s.ctrs.Exec(ctx, r.ContainerId, ctr.Exec{Args: r.Cmd, Terminal: r.Tty, Streams: streams})
		})
	})
}

// Attach returns the URL at which a client attaches to the container.
// ErrInvalidArgument if it asks for streams that cannot be had.
func (s *Server) Attach(r *runtimeapi.AttachRequest) (string, error) {
	want := wanted{stdin: r.Stdin, stdout: r.Stdout, stderr: r.Stderr, tty: r.Tty}
	if err := want.check(); err != nil {
		return "", err
	}
	return s.url("attach", func(w http.ResponseWriter, req *http.Request) {
		if session, ok := w.(*session); ok {
			session.stall = min(session.stall, s.o.Stall)
		}
		s.serveRemote(w, req, want, func(ctx context.Context, streams ctr.Streams) (int, error) {
			return 0, s.ctrs.AttachLossy(ctx, r.ContainerId, streams)
		})
	})
}

// PortForward returns the URL at which a client forwards ports of the sandbox.
// ErrInvalidArgument if one of them is none.
func (s *Server) PortForward(r *runtimeapi.PortForwardRequest) (string, error) {
	for _, p := range r.Port {
		if p < 1 || p > 65535 {
			return "", fmt.Errorf("port %d is not one: %w", p, errdefs.ErrInvalidArgument)
		}
	}
	return s.url("portforward", func(w http.ResponseWriter, req *http.Request) {
		s.servePorts(w, req, r.PodSandboxId, r.Port)
	})
}

// wanted are the streams that a call asked for.
type wanted struct{ stdin, stdout, stderr, tty bool }

func (w wanted) check() error {
	switch {
	case w.tty && w.stderr:
		return fmt.Errorf("a terminal has no stderr of its own: tty and stderr exclude each other: %w", errdefs.ErrInvalidArgument)
	case !w.stdin && !w.stdout && !w.stderr:
		return fmt.Errorf("one of stdin, stdout and stderr must be asked for: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}
