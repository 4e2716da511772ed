package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// stage is what the suite plays on: a registry with its images, and a server.
type stage struct {
	options
	dir      string
	davitOf  harness.Davit
	registry *harness.Registry
	critest  string // the suite, with the digest of the image that is here
	before   harness.Snapshot
	server   *exec.Cmd
	ended    chan error
}

// handlerOfNext is the runtime handler of the runc that has user namespaces.
const handlerOfNext = "runc-next"

func (o options) setUp(ctx context.Context, dir string) (*stage, error) {
	roots, err := harness.NewRoots(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "registry")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, fmt.Errorf("making the registry's folder: %w", err)
	}
	registry, err := harness.StartRegistry(ctx, harness.RegistryConfig{Dir: data})
	if err != nil {
		return nil, err
	}
	s := &stage{options: o, dir: dir, davitOf: harness.Davit{Bin: o.davit, Roots: roots}, registry: registry}
	digest, err := pushImages(ctx, registry, dir)
	if err == nil {
		err = s.configure()
	}
	if err == nil && o.suite {
		err = s.patchSuite(digest)
	}
	if err == nil {
		s.before, err = harness.Take(ctx, s.scope())
	}
	if err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	return s, nil
}

// configure writes the network, the mirrors and davit's configuration.
func (s *stage) configure() error {
	cni := filepath.Join(s.dir, "cni")
	if err := os.Mkdir(cni, 0o755); err != nil {
		return fmt.Errorf("making the folder of networks: %w", err)
	}
	network := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "critest", "plugins": [
  {"type": "bridge", "bridge": "cri-%s", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.93.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
]}`, s.davitOf.Roots.NetworkTag(), filepath.Join(s.dir, "leases"))
	var mirrors bytes.Buffer
	fmt.Fprintf(&mirrors, "unqualified-search-registries = []\n")
	for _, r := range []string{"registry.k8s.io", "k8s.gcr.io", "gcr.io"} {
		fmt.Fprintf(&mirrors, "\n[[registry]]\nlocation = %q\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", r, s.registry.Addr)
	}
	config, err := os.ReadFile(s.davitOf.Roots.Config)
	if err != nil {
		return fmt.Errorf("reading davit's configuration: %w", err)
	}
	config = fmt.Appendf(config, "\n[network]\ncni_dir = %q\n\n[engine]\nruntime = %q\n", cni, s.runtime)
	if s.hasNext() {
		config = fmt.Appendf(config, "\n[runtimes.%s]\npath = %q\n", handlerOfNext, s.next)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(cni, "10-critest.conflist"), []byte(network), 0o644),
		os.WriteFile(s.davitOf.Roots.Registries, mirrors.Bytes(), 0o644),
		os.WriteFile(s.davitOf.Roots.Config, config, 0o644))
}

func (s *stage) hasNext() bool {
	if s.next == "" {
		return false
	}
	_, err := os.Stat(s.next)
	return err == nil
}

// socket is where the server listens.
func (s *stage) socket() string { return filepath.Join(s.davitOf.Roots.RunRoot, "davit.sock") }

func (s *stage) endpoint() string { return "unix://" + s.socket() }

// startServer starts serve-cri and waits until it listens.
func (s *stage) startServer(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.logs, "server.log"))
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	defer log.Close()
	s.server = s.davitOf.Command(context.WithoutCancel(ctx), "--log-level", "info", "serve-cri")
	s.server.Stdout, s.server.Stderr = log, log
	if err := s.server.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.server.Wait() }()
	deadline := time.After(15 * time.Second)
	for {
		conn, err := net.Dial("unix", s.socket())
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-s.ended:
			s.server = nil
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("starting the server: it ended at once: %w\n%s", err, text)
		case <-deadline:
			return fmt.Errorf("waiting for the server: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stopServer ends the server as systemd would. It may be called again.
func (s *stage) stopServer() error {
	if s.server == nil {
		return nil
	}
	server := s.server
	s.server = nil
	_ = server.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		if err != nil {
			return fmt.Errorf("the server was told to end, and ended with: %w", err)
		}
		return nil
	case <-time.After(20 * time.Second):
		_ = server.Process.Signal(syscall.SIGQUIT) // its goroutines into the log
		time.Sleep(time.Second)
		_ = server.Process.Kill()
		<-s.ended
		return errors.New("the server did not end within 20 seconds of SIGTERM")
	}
}

// leakCheck compares the machine with what it was before.
func (s *stage) leakCheck(ctx context.Context) error {
	diff, err := harness.Settle(ctx, s.before, s.scope(), 10*time.Second)
	if err != nil {
		return err
	}
	if !diff.Empty() {
		return fmt.Errorf("something is left:\n%s", diff)
	}
	leases, err := filepath.Glob(filepath.Join(s.dir, "leases", "critest", "[0-9]*"))
	if err != nil || len(leases) > 0 {
		return errors.Join(err, fmt.Errorf("address leases are left: %v", leases))
	}
	fmt.Println("leak check: nothing is left")
	return nil
}

// scope leaves out the firewall: its rules are this network namespace's, and
// portmap leaves its chains in place for the next.
func (s *stage) scope() harness.Scope {
	return harness.Scope{Roots: []harness.Roots{s.davitOf.Roots}, IgnoreNetwork: true, IgnoreFirewall: true}
}

// close ends what a run that failed left.
func (s *stage) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := s.stopServer()
	for _, args := range [][]string{{"pod", "rm", "-f", "-a", "-t", "0"}, {"rm", "-f", "-a", "-t", "0"}} {
		_, _ = s.davitOf.Run(ctx, args...) // what it leaves, the removal of the folder shows
	}
	return errors.Join(err, s.registry.Close(), s.davitOf.Roots.RemoveNetwork(ctx))
}
