package img

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/docker/config"
)

// Login asks the registry host whether it accepts r.Creds and keeps them, in
// r.AuthFile or the default auth file or the credential helper that is
// configured, whose name it returns. Nothing is kept of credentials that the
// registry does not accept: ErrPermissionDenied.
func (rs Registries) Login(ctx context.Context, host string, r Registry) (kept string, err error) {
	host, err = cleanHost(host)
	if err != nil {
		return "", err
	}
	if r.Creds == nil || r.Creds.Username == "" {
		return "", fmt.Errorf("logging in to %s: no user given: %w", host, errdefs.ErrInvalidArgument)
	}
	creds := *r.Creds
	r.Creds = nil
	sys := (&core{cfg: Config{Registries: rs}}).systemContext(access{registry: r})
	if err := docker.CheckAuth(ctx, sys, creds.Username, creds.Password, host); err != nil {
		return "", transfer{"logging in to", host, host}.error(err)
	}
	kept, err = config.SetCredentials(sys, host, creds.Username, creds.Password)
	if err != nil {
		return "", fmt.Errorf("logging in to %s: keeping the credentials: %w", host, err)
	}
	return kept, nil
}

// Logout forgets the credentials for host, or for all registries if host is
// empty. It returns ErrNotFound when there are none.
func (rs Registries) Logout(host, authFile string) error {
	sys := (&core{cfg: Config{Registries: rs}}).systemContext(access{registry: Registry{AuthFile: authFile}})
	if host == "" {
		if err := config.RemoveAllAuthentication(sys); err != nil {
			return fmt.Errorf("logging out: %w", err)
		}
		return nil
	}
	host, err := cleanHost(host)
	if err != nil {
		return err
	}
	err = config.RemoveAuthentication(sys, host)
	if errors.Is(err, config.ErrNotLoggedIn) {
		return &classified{msg: fmt.Sprintf("not logged in to %s", host), class: []error{errdefs.ErrNotFound}, cause: err}
	}
	if err != nil {
		return fmt.Errorf("logging out of %s: %w", host, err)
	}
	return nil
}

// LoggedIn is the user that is kept for host; empty for none.
func (rs Registries) LoggedIn(host, authFile string) (string, error) {
	host, err := cleanHost(host)
	if err != nil {
		return "", err
	}
	sys := (&core{cfg: Config{Registries: rs}}).systemContext(access{registry: Registry{AuthFile: authFile}})
	creds, err := config.GetCredentials(sys, host)
	if err != nil {
		return "", fmt.Errorf("reading the credentials for %s: %w", host, err)
	}
	return creds.Username, nil
}

// cleanHost is a registry as the auth files name it: HOST[:PORT], or the
// beginning of a repository on it.
func cleanHost(host string) (string, error) {
	h := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://"), "/")
	if _, short, err := parseName(h + "/x"); err != nil || short {
		return "", fmt.Errorf("registry %q: not of the form HOST[:PORT]: %w", host, errdefs.ErrInvalidArgument)
	}
	return h, nil
}
