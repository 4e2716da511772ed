package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

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
	server   *harness.CRIServer
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
	digest, err := s.pushImages(ctx)
	if err == nil {
		err = s.configure()
	}
	if err == nil && o.suite {
		err = s.patchSuite(digest)
	}
	if err == nil {
		err = s.shareTemp()
	}
	if err == nil {
		s.before, err = harness.Take(ctx, s.scope())
	}
	if err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	return s, nil
}

// configure writes the mirrors, the network and davit's configuration.
func (s *stage) configure() error {
	var mirrors bytes.Buffer
	fmt.Fprintf(&mirrors, "unqualified-search-registries = []\n\n[[registry]]\nlocation = %q\ninsecure = true\n", s.registry.Addr)
	for _, r := range []string{"registry.k8s.io", "k8s.gcr.io", "gcr.io"} {
		fmt.Fprintf(&mirrors, "\n[[registry]]\nlocation = %q\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", r, s.registry.Addr)
	}
	config := fmt.Sprintf("[engine]\nruntime = %q\n", s.runtime)
	if s.hasNext() {
		config += fmt.Sprintf("\n[runtimes.%s]\npath = %q\n", handlerOfNext, s.next)
	}
	return errors.Join(
		os.WriteFile(s.davitOf.Roots.Registries, mirrors.Bytes(), 0o644),
		s.davitOf.Roots.AddPodNetwork(93),
		s.davitOf.Roots.Configure(config))
}

// shareTemp makes a folder that mounts are propagated from and to, which the
// root of a container or of a mount namespace may not be. The suite's temporary
// folders are made in it.
func (s *stage) shareTemp() error {
	dir := s.temp()
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = unix.Mount(dir, dir, "", unix.MS_BIND, "")
	}
	if err == nil {
		err = unix.Mount("", dir, "", unix.MS_SHARED, "")
	}
	if err != nil {
		return fmt.Errorf("making a folder with shared mounts: %w", err)
	}
	return nil
}

func (s *stage) temp() string { return filepath.Join(s.dir, "tmp") }

func (s *stage) hasNext() bool {
	if s.next == "" {
		return false
	}
	_, err := os.Stat(s.next)
	return err == nil
}

func (s *stage) endpoint() string { return "unix://" + s.server.Socket }

// leakCheck compares the machine with what it was before.
func (s *stage) leakCheck(ctx context.Context) error {
	diff, err := harness.Settle(ctx, s.before, s.scope(), 10*time.Second)
	if err != nil {
		return err
	}
	if !diff.Empty() {
		return fmt.Errorf("something is left:\n%s", diff)
	}
	if leases := s.davitOf.Roots.Leases(); len(leases) > 0 {
		return fmt.Errorf("address leases are left: %v", leases)
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
	var err error
	if s.server != nil {
		err = s.server.Stop()
	}
	for _, args := range [][]string{{"pod", "rm", "-f", "-a", "-t", "0"}, {"rm", "-f", "-a", "-t", "0"}} {
		_, _ = s.davitOf.Run(ctx, args...) // what it leaves, the removal of the folder shows
	}
	return errors.Join(err, s.registry.Close(), s.davitOf.Roots.RemoveNetwork(ctx))
}
