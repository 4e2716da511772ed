package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// RegistryConfig says what sort of registry to start. The zero value but for
// Dir is one in plain HTTP, open to all.
type RegistryConfig struct {
	Dir      string // an existing folder for its data and keys
	User     string // asks for this user and Password where set
	Password string
	Token    bool // User is asked for by a token server, not by the registry
	TLS      bool // HTTPS with a certificate that only its own CA file vouches for
}

// Registry is Debian's docker-registry, running on a free port of 127.0.0.1.
type Registry struct {
	Addr   string // host:port
	CAFile string // with TLS: the certificate that signs the registry's
	LogAt  string // what it prints

	config    RegistryConfig
	transport http.RoundTripper
	tokens    *http.Server
	process   *exec.Cmd
	ended     chan struct{}
}

// StartRegistry starts docker-registry and waits until it answers. Close ends
// it; the files in c.Dir stay.
func StartRegistry(ctx context.Context, c RegistryConfig) (*Registry, error) {
	r := &Registry{config: c, LogAt: filepath.Join(c.Dir, "registry.log"), transport: http.DefaultTransport, ended: make(chan struct{})}
	addr, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	r.Addr = addr
	config, err := r.write()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	log, err := os.Create(r.LogAt)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the registry: %w", err), r.Close())
	}
	defer log.Close()
	r.process = exec.Command("docker-registry", "serve", config)
	r.process.Stdout, r.process.Stderr = log, log
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startOnOwnThread(r.process, r.ended); err != nil {
		r.process = nil
		return nil, errors.Join(fmt.Errorf("starting docker-registry (Debian's package of that name): %w", err), r.Close())
	}
	if err := r.wait(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Ref returns the full reference of a repository and tag in this registry.
func (r *Registry) Ref(repository string) string { return r.Addr + "/" + repository }

// Close ends the registry and waits for its end. It may be called again.
func (r *Registry) Close() error {
	if r.tokens != nil {
		_ = r.tokens.Close()
	}
	if r.process != nil {
		_ = r.process.Process.Kill()
		<-r.ended
		r.process = nil
	}
	return nil
}

func (r *Registry) url(path string) string {
	if r.config.TLS {
		return "https://" + r.Addr + path
	}
	return "http://" + r.Addr + path
}

func (r *Registry) client() *http.Client { return &http.Client{Transport: r.transport} }

// write makes the registry's configuration and what it names, and returns its path.
func (r *Registry) write() (string, error) {
	var b bytes.Buffer
	dir := r.config.Dir
	fmt.Fprintf(&b, "version: 0.1\nlog: {level: warn, accesslog: {disabled: false}}\n")
	fmt.Fprintf(&b, "storage:\n  filesystem: {rootdirectory: %q}\n  delete: {enabled: true}\n", filepath.Join(dir, "data"))
	fmt.Fprintf(&b, "http:\n  addr: %s\n  secret: of-this-test\n", r.Addr)
	if r.config.TLS {
		if err := r.writeTLS(&b); err != nil {
			return "", err
		}
	}
	switch {
	case r.config.Token:
		if err := r.startTokens(&b); err != nil {
			return "", err
		}
	case r.config.User != "":
		hash, err := bcrypt.GenerateFromPassword([]byte(r.config.Password), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("hashing a password: %w", err)
		}
		path := filepath.Join(dir, "htpasswd")
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s:%s\n", r.config.User, hash), 0o600); err != nil {
			return "", fmt.Errorf("writing the registry's users: %w", err)
		}
		fmt.Fprintf(&b, "auth:\n  htpasswd: {realm: davit-test, path: %q}\n", path)
	}
	path := filepath.Join(dir, "registry.yml")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		return "", fmt.Errorf("writing the registry's configuration: %w", err)
	}
	return path, nil
}

func (r *Registry) writeTLS(b *bytes.Buffer) error {
	dir := r.config.Dir
	pair, err := selfSigned("davit test registry")
	if err != nil {
		return err
	}
	r.CAFile = filepath.Join(dir, "ca.crt")
	key := filepath.Join(dir, "tls.key")
	if err := errors.Join(os.WriteFile(r.CAFile, pair.certPEM, 0o644), os.WriteFile(key, pair.keyPEM, 0o600)); err != nil {
		return fmt.Errorf("writing the registry's keys: %w", err)
	}
	fmt.Fprintf(b, "  tls: {certificate: %q, key: %q}\n", r.CAFile, key)
	r.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pair.pool()}}
	return nil
}

// wait asks the registry until it answers, whatever it answers.
func (r *Registry) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url("/v2/"), nil)
		if err != nil {
			return fmt.Errorf("asking the registry: %w", err)
		}
		resp, err := r.client().Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-r.ended:
			log, _ := os.ReadFile(r.LogAt)
			return fmt.Errorf("starting docker-registry: it ended at once:\n%s", log)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the registry at %s: %w", r.Addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freePort(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
