package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// CRIServer is a `davit serve-cri` that runs. It is not for several goroutines.
type CRIServer struct {
	Socket string
	LogAt  string // what it prints

	process *exec.Cmd
	ended   chan error
}

// StartCRI starts serve-cri on d's roots and waits until it listens. What it
// prints is appended to the file logAt. Stop or Kill ends it.
func StartCRI(ctx context.Context, d Davit, logAt string) (*CRIServer, error) {
	log, err := os.OpenFile(logAt, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting serve-cri: %w", err)
	}
	defer log.Close()
	s := &CRIServer{Socket: filepath.Join(d.Roots.RunRoot, "davit.sock"), LogAt: logAt, ended: make(chan error, 1)}
	s.process = d.Command(context.WithoutCancel(ctx), "--log-level", "info", "serve-cri")
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("starting serve-cri: %w", err)
	}
	process := s.process
	go func() { s.ended <- process.Wait() }()
	deadline := time.After(15 * time.Second)
	for {
		conn, err := net.Dial("unix", s.Socket)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case err := <-s.ended:
			text, _ := os.ReadFile(logAt)
			return nil, fmt.Errorf("starting serve-cri: it ended at once: %w\n%s", err, text)
		case <-deadline:
			return nil, errors.Join(fmt.Errorf("waiting for serve-cri: %w", err), s.Kill())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.Kill())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// PID is the server's process.
func (s *CRIServer) PID() int { return s.process.Process.Pid }

// Ended waits until the server has ended by itself or by somebody else's doing, and
// returns what exec.Cmd.Wait does. Start another then.
func (s *CRIServer) Ended(ctx context.Context) error {
	select {
	case err := <-s.ended:
		s.process = nil
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of serve-cri: %w", ctx.Err())
	}
}

// Stop ends the server as systemd would. One that does not end in 20 seconds is
// killed, with its goroutines in the log, and an error. It may be called again.
func (s *CRIServer) Stop() error {
	if s.process == nil {
		return nil
	}
	p := s.process.Process
	s.process = nil
	_ = p.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("serve-cri was told to end, and ended with: %w", err)
		}
		return nil
	case <-time.After(20 * time.Second):
	}
	_ = p.Signal(syscall.SIGQUIT)
	select {
	case <-s.ended:
	case <-time.After(5 * time.Second):
		_ = p.Kill()
		<-s.ended
	}
	return errors.New("serve-cri did not end within 20 seconds of SIGTERM")
}

// Kill ends the server by SIGKILL and waits for its end. It may be called again.
func (s *CRIServer) Kill() error {
	if s.process == nil {
		return nil
	}
	p := s.process.Process
	s.process = nil
	err := p.Kill()
	<-s.ended
	if errors.Is(err, os.ErrProcessDone) { // it was killed by somebody else
		return nil
	}
	return err
}

// AddPodNetwork gives the davit of these roots a folder of networks of its own,
// with one of bridge, host-local and portmap in it, of the subnet 10.N.0.0/16.
// The bridge's name ends in NetworkTag, so that RemoveNetwork takes it away. It
// writes the section [network] of the configuration, which must not be there.
func (r Roots) AddPodNetwork(n int) error {
	dir := filepath.Join(r.Dir, "cni")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of networks: %w", err)
	}
	conflist := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cri-%s", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.%d.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
]}`, r.NetworkTag(), r.leases(), n)
	if err := os.WriteFile(filepath.Join(dir, "10-pods.conflist"), []byte(conflist), 0o644); err != nil {
		return fmt.Errorf("writing the network: %w", err)
	}
	return r.Configure(fmt.Sprintf("[network]\ncni_dir = %q\n", dir))
}

// Configure appends sections to davit's configuration.
func (r Roots) Configure(text string) error {
	f, err := os.OpenFile(r.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("writing davit's configuration: %w", err)
	}
	_, err = fmt.Fprintf(f, "\n%s", text)
	return errors.Join(err, f.Close())
}

func (r Roots) leases() string { return filepath.Join(r.Dir, "leases") }

// Leases are the addresses that AddPodNetwork's network has given out.
func (r Roots) Leases() []string {
	files, _ := filepath.Glob(filepath.Join(r.leases(), "pods", "[0-9]*"))
	return files
}
