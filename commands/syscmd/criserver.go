package syscmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/record"
)

// bereaved is how long a claim of a server that has died is waited for.
const bereaved = 5 * time.Second

// claim takes the roots for one server: a second one is refused. Closing the file
// gives them back; the file itself stays. What a killed server had begun to execute
// keeps its claim until it is executed, which is waited for; a fork that never is
// is killed (see [record.Patience.Look]).
func claim(ctx context.Context, runRoot string) (*os.File, error) {
	path := filepath.Join(runRoot, "serve-cri.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claiming the run root: %w", err)
	}
	holder, err := lockClaim(ctx, f)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("another serve-cri (process %s) serves %s: %w", holder, runRoot, errdefs.ErrFailedPrecondition)
	case err != nil:
		err = fmt.Errorf("claiming the run root: %w", err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(pid), 0); err == nil {
		_ = f.Truncate(int64(len(pid)))
	}
	return f, nil
}

// lockClaim locks a server's file. EWOULDBLOCK comes with the process that has it.
func lockClaim(ctx context.Context, f *os.File) (holder string, err error) {
	ctx, cancel := context.WithTimeout(ctx, bereaved)
	defer cancel()
	var patience record.Patience
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return "", err
		}
		text := make([]byte, 32)
		n, _ := f.ReadAt(text, 0)
		holder = strings.TrimSpace(string(text[:n]))
		if pid, perr := strconv.Atoi(holder); perr == nil {
			if p, perr := record.ProcessOf(pid); perr == nil && p.Alive() {
				return holder, err
			}
		} // else it is about to write who it is
		patience.Look(int(f.Fd()))
		select {
		case <-ctx.Done():
			return holder, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// listen opens what the configuration says the server listens on.
func listen(ctx context.Context, c *cli.Config) (net.Listener, error) {
	at := c.CRI.Listen
	if at == "" {
		at = "unix://" + filepath.Join(c.RunRoot, "davit.sock")
	}
	if path, ok := strings.CutPrefix(at, "unix://"); ok {
		return listenUnix(ctx, path)
	}
	conf, err := serverTLS(c.CRI)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", strings.TrimPrefix(at, "tcp://"))
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return tls.NewListener(l, conf), nil
}

// listenMetrics opens where metrics are to be served, nil for nowhere.
func listenMetrics(ctx context.Context, c *cli.Config) (net.Listener, error) {
	at := c.CRI.Metrics
	if at == "" {
		return nil, nil
	}
	if path, ok := strings.CutPrefix(at, "unix://"); ok {
		return listenUnix(ctx, path)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", strings.TrimPrefix(at, "tcp://"))
	if err != nil {
		return nil, fmt.Errorf("listening for those who read metrics: %w", err)
	}
	return l, nil
}

// listenUnix makes a socket for root alone. A socket that is there already is
// removed if nobody answers on it. Closing the listener removes the socket.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listening: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is there and is not a socket: %w", path, errdefs.ErrFailedPrecondition)
	default:
		d := net.Dialer{Timeout: time.Second}
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			conn.Close()
		}
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("somebody listens on %s already: %w", path, errdefs.ErrFailedPrecondition)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing the old socket: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	// The mask is the process's: nothing else makes files yet that it would hurt,
	// it takes away only.
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// serverTLS asks clients for certificates: who can speak to this server is root.
func serverTLS(c cli.CRIConfig) (*tls.Config, error) {
	if c.TLSCert == "" || c.TLSKey == "" || c.ClientCA == "" {
		return nil, cli.Usagef("listening on TCP needs cri.tls_cert, cri.tls_key and cri.client_ca").
			Hintf("whoever reaches this server is root on the machine")
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	pem, err := os.ReadFile(c.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("reading the clients' authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate: %w", c.ClientCA, errdefs.ErrInvalidArgument)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
	}, nil
}

// notify tells systemd of the server's state, sd_notify(3). Without a
// NOTIFY_SOCKET it does nothing.
func notify(env *cli.Env, state string) {
	path := env.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		env.Log().Warn("systemd cannot be told of the server's state", "error", err)
		return
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		env.Log().Warn("systemd cannot be told of the server's state", "error", err)
	}
}

// reloading is what systemd wants to be told before a reload.
func reloading() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// watchdog is how often systemd wants to hear of the server, zero for never.
func watchdog(env *cli.Env) time.Duration {
	usec, err := strconv.ParseInt(env.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := env.Getenv("WATCHDOG_PID")
	if err != nil || usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}
