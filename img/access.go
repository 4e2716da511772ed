package img

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/signature"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"
)

// Credentials are a user's at a registry; or an identity token alone, as an
// OAuth2 refresh token; or a registry token alone, which is sent as it is.
type Credentials struct {
	Username, Password string
	IdentityToken      string
	RegistryToken      string
	// Server is the registry that they are for, as a host or a URL: no other one
	// is told of them. Empty is whichever the image is at.
	Server string
}

// at are the credentials for a registry; nil where they are for another one.
func (c *Credentials) at(host string) *Credentials {
	if c == nil || c.Server == "" || registryHost(c.Server) == registryHost(host) {
		return c
	}
	return nil
}

// registryHost is the host of a registry that is given as a host or as a URL.
// Docker's has three names.
func registryHost(server string) string {
	if _, rest, ok := strings.Cut(server, "://"); ok {
		server = rest
	}
	host, _, _ := strings.Cut(server, "/")
	host = strings.ToLower(host)
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		return "docker.io"
	}
	return host
}

// Registry says how one transfer talks to its registry. The zero value is what
// the host's files say.
type Registry struct {
	// Creds replace what the auth files have.
	Creds *Credentials
	// AuthFile is an auth.json to use; one that is named must exist.
	AuthFile string
	// CertDir is a folder with *.crt (authorities), and *.cert with *.key
	// (client certificates).
	CertDir string
	// TLSVerify true asks for a verified certificate, false allows plain HTTP
	// and any certificate, and nil is what registries.conf says.
	TLSVerify *bool
}

// Platform is what an image is for. Empty fields are this machine's.
type Platform struct{ OS, Architecture, Variant string }

// ParsePlatform parses OS/ARCH[/VARIANT], or ARCH alone, which is linux's.
func ParsePlatform(s string) (Platform, error) {
	if s == "" {
		return Platform{}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) == 1 {
		parts = []string{"linux", s}
	}
	for _, p := range parts {
		if p == "" || len(parts) > 3 || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
			return Platform{}, fmt.Errorf("platform %q: not of the form OS/ARCH[/VARIANT]: %w", s, errdefs.ErrInvalidArgument)
		}
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	}
	return p, nil
}

// String is the form that ParsePlatform reads; empty for this machine's.
func (p Platform) String() string {
	if p == (Platform{}) {
		return ""
	}
	s := cmp.Or(p.OS, "linux") + "/" + cmp.Or(p.Architecture, runtime.GOARCH)
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// matches says whether an image is for this platform as far as it is asked for.
func (p Platform) matches(i Image) bool {
	return (p.OS == "" || p.OS == i.OS) && (p.Architecture == "" || p.Architecture == i.Architecture) &&
		(p.Variant == "" || i.Variant == "" || p.Variant == i.Variant)
}

// access is what one transfer is steered by.
type access struct {
	registry Registry
	platform Platform
	temp     string // where blobs are kept meanwhile
	trusted  bool   // made by the caller: no signature policy
}

// systemContext puts the settings of the store and of one transfer in the
// library's terms.
func (c *core) systemContext(a access) *types.SystemContext {
	r := c.cfg.Registries
	sys := &types.SystemContext{
		SystemRegistriesConfPath:    r.Conf,
		SystemRegistriesConfDirPath: r.ConfDir,
		SignaturePolicyPath:         r.Policy,
		AuthFilePath:                cmp.Or(a.registry.AuthFile, r.AuthFile, os.Getenv("REGISTRY_AUTH_FILE")),
		DockerPerHostCertDirPath:    r.CertsDir,
		DockerCertPath:              a.registry.CertDir,
		OCICertPath:                 a.registry.CertDir,
		OSChoice:                    a.platform.OS,
		ArchitectureChoice:          a.platform.Architecture,
		VariantChoice:               a.platform.Variant,
		BigFilesTemporaryDir:        a.temp,
		DockerRegistryUserAgent:     "davit",
	}
	if c.cfg.Root != "" {
		// The record of which blobs are where is of this store's layers.
		sys.BlobInfoCacheDir = filepath.Join(c.cfg.Root, "cache")
		sys.UserShortNameAliasConfPath = filepath.Join(c.cfg.Root, "cache", "short-name-aliases.conf")
	}
	if v := a.registry.TLSVerify; v != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*v)
		sys.OCIInsecureSkipTLSVerify = !*v
	}
	if creds := a.registry.Creds; creds != nil {
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: creds.Username, Password: creds.Password, IdentityToken: creds.IdentityToken}
		sys.DockerBearerRegistryToken = creds.RegistryToken
	}
	return sys
}

// checkAccess refuses what would otherwise be passed over in silence or fail
// with an obscure error in mid-transfer.
func (c *core) checkAccess(a access) error {
	for _, f := range []struct{ what, path string }{
		{"auth file", cmp.Or(a.registry.AuthFile, c.cfg.Registries.AuthFile)}, {"certificate folder", a.registry.CertDir},
		{"registries.conf", c.cfg.Registries.Conf},
	} {
		if f.path == "" {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			return fmt.Errorf("%s %q: %w", f.what, f.path, classOf(err))
		}
	}
	return nil
}

// classOf gives a file system error its class, without its path.
func classOf(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errdefs.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return errdefs.ErrPermissionDenied
	}
	return err
}

// readPolicy reads the signature policy.
func readPolicy(sys *types.SystemContext) (*signature.Policy, error) {
	policy, err := signature.DefaultPolicy(sys)
	if errors.Is(err, configfile.ErrConfigFileNotFound) && sys.SignaturePolicyPath == "" && os.Getenv("CONTAINERS_POLICY_JSON") == "" {
		// See doc.go for why.
		policy, err = &signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}}, nil
	}
	if err != nil {
		return nil, &classified{msg: "reading the signature policy: " + err.Error(), class: []error{ErrSignature, errdefs.ErrFailedPrecondition}, cause: err}
	}
	return policy, nil
}

// policyContext is the signature policy, for one copy: a PolicyContext is not
// made for several at a time. The caller destroys it.
func (c *core) policyContext(sys *types.SystemContext) (*signature.PolicyContext, error) {
	policy, err := readPolicy(sys)
	if err != nil {
		return nil, err
	}
	ctx, err := signature.NewPolicyContext(policy)
	if err != nil {
		return nil, fmt.Errorf("reading the signature policy: %w", err)
	}
	return ctx, nil
}

// allowed asks the signature policy about an image of the store, whose manifest and
// signatures are those that were stored, under each of these names, as if it were
// pulled by them. One that is accepted will do.
func allowed(ctx context.Context, c *core, id string, names []string) error {
	sys := c.systemContext(access{})
	policy, err := readPolicy(sys)
	if err != nil || acceptsAll(policy) {
		return err
	}
	verdict, err := signature.NewPolicyContext(policy)
	if err != nil {
		return fmt.Errorf("reading the signature policy: %w", err)
	}
	defer func() { _ = verdict.Destroy() }()
	stored, err := istorage.Transport.NewStoreReference(c.storage(), nil, id)
	if err != nil {
		return err
	}
	src, err := stored.NewImageSource(ctx, sys)
	if err != nil {
		return err
	}
	defer src.Close()
	im := image.UnparsedInstance(src, nil)
	if len(names) == 0 { // made here: there is nowhere that it was pulled from
		_, err := verdict.IsRunningImageAllowed(ctx, im)
		return err
	}
	var refused error
	for _, name := range names {
		ref, err := docker.ParseReference("//" + name)
		if err == nil {
			_, err = verdict.IsRunningImageAllowed(ctx, image.UnparsedInstanceWithReference(im, ref))
		}
		if err == nil {
			return nil
		}
		refused = err
	}
	return refused
}

// acceptsAll says whether there is nothing that a policy refuses.
func acceptsAll(p *signature.Policy) bool {
	return len(p.Transports) == 0 && reflect.DeepEqual(p.Default, signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()})
}

// acceptAll is the policy of transfers out of the store, and of what the caller
// made a moment ago: the policy is about what comes in.
func acceptAll(*types.SystemContext) (*signature.PolicyContext, error) {
	ctx, err := signature.NewPolicyContext(&signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		return nil, fmt.Errorf("making a signature policy: %w", err)
	}
	return ctx, nil
}

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

// CheckFiles reads the files that steer transfers, as a transfer would, and says
// what is wrong with each, by its name.
func CheckFiles(r Registries) map[string]error {
	c := &core{cfg: Config{Registries: r}}
	sys := c.systemContext(access{})
	out := map[string]error{}
	_, out["registries.conf"] = sysregistriesv2.GetRegistries(sys)
	policy, err := c.policyContext(sys)
	if err == nil {
		err = policy.Destroy()
	}
	out["policy.json"] = err
	return out
}
