//go:build rootful

package harness

import (
	"net/http"
	"strings"
	"testing"
)

func TestRegistries(t *testing.T) {
	img, err := Busybox(t.Context(), ImageConfig{Layers: 2})
	if err != nil {
		t.Fatal(err)
	}
	arm, err := Busybox(t.Context(), ImageConfig{Architecture: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	idx, err := Index(img, arm)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		config    RegistryConfig
		challenge string
	}{
		{"open", RegistryConfig{}, ""},
		{"basic", RegistryConfig{User: "ann", Password: "secret"}, "Basic"},
		{"TLS and basic", RegistryConfig{User: "ann", Password: "secret", TLS: true}, "Basic"},
		{"token", RegistryConfig{User: "ann", Password: "secret", Token: true}, "Bearer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := TestRegistry(t, tt.config)
			if err := r.Push(t.Context(), "busybox:latest", img); err != nil {
				t.Error(err)
			}
			if err := r.Push(t.Context(), "many:latest", idx); err != nil {
				t.Error(err)
			}
			resp, err := r.client().Get(r.url("/v2/busybox/manifests/latest"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			asked := resp.StatusCode == http.StatusUnauthorized
			if asked != (tt.challenge != "") || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), tt.challenge) {
				t.Errorf("without credentials: %s, %q", resp.Status, resp.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	img, err := Busybox(t.Context(), ImageConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []bool{false, true} {
		r := TestRegistry(t, RegistryConfig{User: "ann", Password: "secret", Token: token})
		r.config.Password = "wrong"
		if err := r.Push(t.Context(), "busybox:latest", img); err == nil {
			t.Errorf("token=%v: pushed with a wrong password", token)
		}
	}
}
