//go:build rootful

package img

import (
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/commands/harness"
)

func TestPushAndLogin(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config harness.RegistryConfig
	}{
		{"open", harness.RegistryConfig{}},
		{"basic", harness.RegistryConfig{User: "me", Password: "pass:word"}},
		{"token", harness.RegistryConfig{User: "me", Password: "pass:word", Token: true}},
		{"TLS and basic", harness.RegistryConfig{TLS: true, User: "me", Password: "pass:word"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, im := withImage(t)
			ctx, reg := t.Context(), harness.TestRegistry(t, tt.config)
			r := Registry{AuthFile: filepath.Join(t.TempDir(), "auth.json")}
			writeFile(t, filepath.Dir(r.AuthFile), "auth.json", "{}")
			if tt.config.TLS {
				r.CertDir = t.TempDir()
				writeFile(t, r.CertDir, "ca.crt", string(readFile(t, reg.CAFile)))
			} else {
				r.TLSVerify = plain().TLSVerify
			}
			dest := reg.Ref("up/app:2")
			if tt.config.User != "" {
				loginCycle(t, s, reg, r)
			}
			digest, err := s.Push(ctx, im.ID, dest, PushOptions{Registry: r})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Remove(ctx, im.ID, RemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			again, err := s.Pull(ctx, reg.Ref("up/app@"+digest), PullOptions{Registry: r})
			if err != nil || again.ID != im.ID {
				t.Errorf("pulling what was pushed = %s, %v; want %s", again.ID, err, im.ID)
			}
			for _, o := range []PushOptions{{Registry: r, Format: "oci"}, {Registry: r, Compression: "zstd", Format: "oci"}, {Registry: r, Format: "v2s2"}} {
				if _, err := s.Push(ctx, again.ID, dest, o); err != nil {
					t.Errorf("Push(%+v) = %v", o, err)
				} else if _, err := s.Pull(ctx, dest, PullOptions{Registry: r}); err != nil {
					t.Errorf("pulling what was pushed with %+v: %v", o, err)
				}
			}
			noTemp(t, s)
		})
	}
}

// loginCycle logs in, with wrong credentials first, out, and in again.
func loginCycle(t *testing.T, s *Store, reg *harness.Registry, r Registry) {
	t.Helper()
	ctx, rs := t.Context(), s.cfg.Registries
	if _, err := s.Push(ctx, "app:1", reg.Ref("up/app:2"), PushOptions{Registry: r}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("Push without credentials = %v", err)
	} else {
		oneLine(t, err)
	}
	wrong, right := r, r
	wrong.Creds, right.Creds = &Credentials{Username: "me", Password: "wrong"}, &Credentials{Username: "me", Password: "pass:word"}
	if _, err := rs.Login(ctx, reg.Addr, wrong); !errdefs.IsPermissionDenied(err) {
		t.Errorf("Login with a wrong password = %v", err)
	} else {
		oneLine(t, err)
	}
	if user, err := rs.LoggedIn(reg.Addr, r.AuthFile); err != nil || user != "" {
		t.Errorf("after a refused login: %q, %v", user, err)
	}
	if err := rs.Logout(reg.Addr, r.AuthFile); !errdefs.IsNotFound(err) {
		t.Errorf("Logout of nobody = %v", err)
	}
	for range 2 {
		if kept, err := rs.Login(ctx, reg.Addr, right); err != nil || kept != r.AuthFile {
			t.Errorf("Login = %q, %v", kept, err)
		}
		if user, err := rs.LoggedIn(reg.Addr, r.AuthFile); err != nil || user != "me" {
			t.Errorf("LoggedIn = %q, %v", user, err)
		}
		if err := rs.Logout(reg.Addr, r.AuthFile); err != nil {
			t.Errorf("Logout = %v", err)
		}
	}
	if _, err := rs.Login(ctx, reg.Addr, right); err != nil {
		t.Error(err)
	}
}

func TestPushRefuses(t *testing.T) {
	s, im := withImage(t)
	dead := deadAddress(t)
	for _, tt := range []struct {
		ref, dest string
		o         PushOptions
		class     func(error) bool
	}{
		{"none", "", PushOptions{}, errdefs.IsNotFound},
		{im.ID, "", PushOptions{}, errdefs.IsInvalidArgument},
		{"app:1", "short", PushOptions{}, errdefs.IsInvalidArgument},
		{"app:1", "dir:/x", PushOptions{}, errdefs.IsInvalidArgument},
		{"app:1", dead + "/x@" + im.Digest, PushOptions{}, errdefs.IsInvalidArgument},
		{"app:1", dead + "/x:1", PushOptions{Format: "v1"}, errdefs.IsInvalidArgument},
		{"app:1", dead + "/x:1", PushOptions{Compression: "rar"}, errdefs.IsInvalidArgument},
		{"app:1", dead + "/x:1", PushOptions{}, errdefs.IsUnavailable},
	} {
		_, err := s.Push(t.Context(), tt.ref, tt.dest, tt.o)
		if !tt.class(err) {
			t.Errorf("Push(%s, %s) = %v", tt.ref, tt.dest, err)
		}
		oneLine(t, err)
	}
	if _, err := (Registries{}).Login(t.Context(), "a b", Registry{Creds: &Credentials{Username: "me"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Login = %v", err)
	}
}
