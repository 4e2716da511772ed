//go:build rootful

package commands_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// TestPullFromRegistries pulls from Debian's registry as administrators meet
// it: with basic and token authentication, and over TLS.
func TestPullFromRegistries(t *testing.T) {
	img, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		config harness.RegistryConfig
	}{
		{"basic", harness.RegistryConfig{User: "ann", Password: "secret"}},
		{"token", harness.RegistryConfig{User: "ann", Password: "secret", Token: true}},
		{"TLS", harness.RegistryConfig{User: "ann", Password: "secret", TLS: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			registry := harness.TestRegistry(t, tt.config)
			if err := registry.Push(t.Context(), "busybox:latest", img); err != nil {
				t.Fatal(err)
			}
			davit := harness.TestDavit(t)
			image := registry.Ref("busybox:latest")
			var flags []string
			if tt.config.TLS {
				wantRefusal(t, davit, []string{"certificate"}, "pull", "-q", "--creds", "ann:secret", image)
				flags = []string{"--cert-dir", certDir(t, registry)}
			} else if err := davit.Roots.TrustRegistry(registry.Addr); err != nil {
				t.Fatal(err)
			}
			pull := append([]string{"pull", "-q"}, flags...)
			wantRefusal(t, davit, []string{registry.Addr, "credentials"}, append(pull, image)...)
			wantRefusal(t, davit, []string{registry.Addr, "credentials"}, append(pull, "--creds", "ann:wrong", image)...)
			if r := mustRun(t, davit, "images", "-q"); r.Line() != "" {
				t.Errorf("a refused pull left %s", r.Line())
			}
			mustRun(t, davit, append(pull, "--creds", "ann:secret", image)...)
			mustRun(t, davit, "run", "--rm", "--pull", "never", image, "true")
		})
	}
}

// TestPullChecksDigests wants an image refused whose blob is not what its
// manifest says, and taken once the registry has the right one: the good layer
// that was kept meanwhile is that image's then.
func TestPullChecksDigests(t *testing.T) {
	img, err := harness.Busybox(t.Context(), harness.ImageConfig{Layers: 2})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	registry := harness.TestRegistry(t, harness.RegistryConfig{Dir: dir})
	if err := registry.Push(t.Context(), "busybox:latest", img); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "data/docker/registry/v2/blobs/sha256", digest.Hex[:2], digest.Hex, "data")
	data, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	flip := func() {
		data[len(data)-1] ^= 1
		if err := os.WriteFile(blob, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	davit := harness.TestDavit(t)
	if err := davit.Roots.TrustRegistry(registry.Addr); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, davit, []string{digest.Hex[:12]}, "pull", "-q", registry.Ref("busybox:latest"))
	if r := mustRun(t, davit, "images", "-a", "-q"); r.Line() != "" {
		t.Errorf("the broken image left %s", r.Line())
	}
	flip()
	mustRun(t, davit, "pull", "-q", registry.Ref("busybox:latest"))
}

// certDir makes a folder with the registry's certificate authority in it.
func certDir(t *testing.T, registry *harness.Registry) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(registry.CAFile)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ca.crt"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantRefusal runs davit and wants exit code 125, nothing on standard output,
// and one line of error that has these words.
func wantRefusal(t *testing.T, davit harness.Davit, words []string, args ...string) {
	t.Helper()
	r, err := davit.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 125 || r.Stdout != "" {
		t.Errorf("davit %s: exit code %d, want 125; printed %q", strings.Join(args, " "), r.Code, r.Stdout)
	}
	for _, w := range words {
		if !strings.Contains(r.Stderr, w) {
			t.Errorf("davit %s: no %q in %q", strings.Join(args, " "), w, r.Stderr)
		}
	}
}
