package img

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// quick is a pull over plain HTTP whose retries do not wait.
func quick() PullOptions { return PullOptions{Registry: plain(), RetryDelay: time.Millisecond} }

func TestPullAndResolve(t *testing.T) {
	unpacks(t)
	s, host, ctx := openTest(t), testRegistry(t), t.Context()
	im := testImage(t, "amd64", testLayer(t, map[string]string{"hello": "hi"}), testLayer(t, map[string]string{"more": strings.Repeat("x", 1000)}))
	push(t, host+"/lib/hello:1", im)
	o := quick()
	var kinds []ProgressKind
	o.Progress = func(e ProgressEvent) { kinds = append(kinds, e.Kind) }
	got, err := s.Pull(ctx, "docker://"+host+"/lib/hello:1", o)
	if err != nil {
		t.Fatal(err)
	}
	want, err := im.ConfigName()
	if err != nil || got.ID != want.Hex {
		t.Errorf("ID = %s, want %s (%v)", got.ID, want.Hex, err)
	}
	if kinds[0] != PullStarted || kinds[len(kinds)-1] != PullDone || !slices.Contains(kinds, BlobDone) {
		t.Errorf("progress = %v", kinds)
	}
	if got.Size < 1000 || got.Config.User != "7" || got.Config.Healthcheck == nil || got.Architecture != "amd64" {
		t.Errorf("image = %+v", got)
	}
	for _, ref := range []string{
		got.ID, got.ID[:12], "sha256:" + got.ID, host + "/lib/hello:1", "hello:1", "lib/hello:1",
		got.Digest, host + "/lib/hello@" + got.Digest, host + "/lib/hello:9@" + got.Digest, "sha256:" + got.ID[:7],
	} {
		if found, err := s.Resolve(ctx, ref); err != nil || found.ID != got.ID {
			t.Errorf("Resolve(%q) = %v, %v", ref, found.ID, err)
		}
	}
	for ref, want := range map[string]bool{got.ID[:12]: true, host + "/lib/hello:1": true, "hello:1": false, "lib/hello:1": false} {
		if found, err := s.ResolveAs(ctx, ref, MatchExact); (err == nil && found.ID == got.ID) != want || !want && !errdefs.IsNotFound(err) {
			t.Errorf("exactly %q is %v, %v", ref, found.ID, err)
		}
	}
	for _, ref := range []string{"hello", "nope", "hello:2", "other/hello:1", strings.Repeat("0", 64), "sha256:" + strings.Repeat("0", 64), "0000000", host + "/lib/other@" + got.Digest} {
		if _, err := s.Resolve(ctx, ref); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), ref) {
			t.Errorf("Resolve(%q) = %v", ref, err)
		}
	}
	for _, ref := range []string{"", "UPPER", "a b", "a:b:c", "x@sha256:../../etc", "x@sha256:12", "../x", "/etc/passwd", "x@md5:" + strings.Repeat("0", 32), "-rf"} {
		if _, err := s.Resolve(ctx, ref); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Resolve(%q) = %v", ref, err)
		}
	}
}

func TestF46PullErrors(t *testing.T) {
	reg := faultyRegistry(t)
	blob := strings.Repeat("content ", 5000)
	im := testImage(t, "amd64", testLayer(t, map[string]string{"f": blob}))
	push(t, reg.host+"/ok:1", im)
	other := testImage(t, "riscv64", testLayer(t, map[string]string{"f": "x"}))
	pushIndex(t, reg.host+"/idx:1", other)
	push(t, reg.host+"/riscv:1", other)
	digest, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	dead := deadAddress(t)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	tlsHost := strings.TrimPrefix(secure.URL, "https://")
	status := func(code int, header ...string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if len(header) == 2 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(code)
			return true
		}
	}
	flip := func(data []byte) []byte {
		data = slices.Clone(data)
		data[len(data)/2] ^= 1
		return data
	}
	verified := true
	tests := []struct {
		name   string
		ref    string
		o      PullOptions
		before func(w http.ResponseWriter, r *http.Request) bool
		body   func(path string, data []byte) []byte
		class  error
		say    []string // what the line has to name
	}{
		{name: "unknown repository", ref: reg.host + "/none:1", class: errdefs.ErrNotFound, say: []string{reg.host + "/none:1"}},
		{name: "unknown tag", ref: reg.host + "/ok:9", class: errdefs.ErrNotFound, say: []string{reg.host + "/ok:9"}},
		{name: "unreachable", ref: dead + "/x:1", class: errdefs.ErrUnavailable, say: []string{dead, "connection refused"}},
		{name: "unknown host", ref: "no-such-host.invalid/x:1", class: errdefs.ErrUnavailable, say: []string{"no-such-host.invalid"}},
		{name: "plain HTTP", ref: reg.host + "/ok:1", o: PullOptions{Registry: Registry{TLSVerify: &verified}}, class: errdefs.ErrUnavailable, say: []string{reg.host, "plain HTTP"}},
		{name: "unknown authority", ref: tlsHost + "/x:1", o: PullOptions{Registry: Registry{}}, class: errdefs.ErrUnavailable, say: []string{tlsHost, "unknown authority"}},
		{
			name: "credentials", ref: reg.host + "/ok:1", before: status(401, "WWW-Authenticate", `Basic realm="x"`),
			class: errdefs.ErrPermissionDenied, say: []string{reg.host, "credentials"},
		},
		{name: "denied", ref: reg.host + "/ok:1", before: onPath("manifests", func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
		}), class: errdefs.ErrPermissionDenied, say: []string{reg.host, "denies"}},
		{name: "server error", ref: reg.host + "/ok:1", before: onPath("manifests", func(w http.ResponseWriter) { w.WriteHeader(500) }), class: errdefs.ErrUnavailable, say: []string{reg.host, "500"}},
		{name: "blob 500", ref: reg.host + "/ok:1", before: onPath(layer.String(), func(w http.ResponseWriter) { w.WriteHeader(503) }), class: errdefs.ErrUnavailable, say: []string{reg.host, "503"}},
		{name: "blob absent", ref: reg.host + "/ok:1", before: onPath(layer.String(), func(w http.ResponseWriter) { w.WriteHeader(404) }), class: errdefs.ErrNotFound, say: []string{reg.host + "/ok:1"}},
		{name: "blob flipped", ref: reg.host + "/ok:1", body: func(path string, data []byte) []byte {
			if strings.Contains(path, layer.String()) {
				return flip(data)
			}
			return data
		}, class: errdefs.ErrDataLoss, say: []string{reg.host + "/ok:1"}},
		{name: "blob truncated", ref: reg.host + "/ok:1", body: func(path string, data []byte) []byte {
			if strings.Contains(path, layer.String()) {
				return data[:len(data)/2]
			}
			return data
		}, class: errdefs.ErrUnavailable, say: []string{reg.host}},
		{name: "manifest flipped", ref: reg.host + "/ok@" + digest.String(), body: func(path string, data []byte) []byte {
			if strings.Contains(path, "manifests") {
				return []byte(strings.Replace(string(data), `"schemaVersion":2`, `"schemaVersion": 2`, 1))
			}
			return data
		}, class: errdefs.ErrDataLoss, say: []string{digest.String()}},
		{name: "huge manifest", ref: reg.host + "/ok:1", body: func(path string, data []byte) []byte {
			if strings.Contains(path, "manifests") {
				return append(data, []byte(strings.Repeat(" ", 8<<20))...)
			}
			return data
		}, say: []string{reg.host + "/ok:1"}},
		{name: "platform not in index", ref: reg.host + "/idx:1", o: PullOptions{Platform: Platform{"linux", "s390x", ""}}, class: errdefs.ErrNotFound, say: []string{"s390x"}},
		{name: "platform of single image", ref: reg.host + "/riscv:1", o: PullOptions{Platform: Platform{"linux", "s390x", ""}}, class: errdefs.ErrNotFound, say: []string{"s390x", "riscv64"}},
		{name: "short name", ref: "alpine", class: errdefs.ErrInvalidArgument, say: []string{"davit pull docker.io/library/alpine"}},
		{name: "upper case", ref: reg.host + "/OK:1", class: errdefs.ErrInvalidArgument, say: []string{"lower case"}},
		{name: "not a reference", ref: "a b", class: errdefs.ErrInvalidArgument, say: []string{`"a b"`}},
		{name: "transport", ref: "docker-daemon:x:1", class: errdefs.ErrInvalidArgument, say: []string{"docker-daemon", "oci-archive"}},
		{name: "absent archive", ref: "oci-archive:/nowhere", class: errdefs.ErrNotFound, say: []string{"/nowhere"}},
		{name: "absent auth file", ref: reg.host + "/ok:1", o: PullOptions{Registry: Registry{AuthFile: "/nowhere"}}, class: errdefs.ErrNotFound, say: []string{"/nowhere"}},
		{name: "never", ref: "none", o: PullOptions{Policy: PullNever}, class: errdefs.ErrNotFound, say: []string{`"none"`}},
		{name: "an ID", ref: strings.Repeat("a", 64), class: errdefs.ErrNotFound, say: []string{"ID"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openTest(t)
			reg.set(tt.before, tt.body)
			tt.o.RetryDelay = time.Millisecond
			if tt.o.Registry == (Registry{}) && tt.name != "unknown authority" {
				tt.o.Registry = plain()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := s.Pull(ctx, tt.ref, tt.o)
			if tt.class != nil && !errors.Is(err, tt.class) {
				t.Errorf("error = %v (%T), want class %v", err, err, tt.class)
			}
			oneLine(t, err)
			for _, say := range tt.say {
				if err != nil && !strings.Contains(err.Error(), say) {
					t.Errorf("error %q does not name %q", err, say)
				}
			}
			noTemp(t, s)
			if list, err := s.List(ctx, ListOptions{All: true}); err != nil || len(list) > 0 {
				t.Errorf("stored all the same: %v, %v", list, err)
			}
		})
	}
}

// onPath answers requests whose path contains text.
func onPath(text string, answer func(w http.ResponseWriter)) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, text) {
			return false
		}
		answer(w)
		return true
	}
}

// deadAddress is an address that nobody listens on.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return l.Addr().String()
}

func TestF46Retries(t *testing.T) {
	unpacks(t)
	reg := faultyRegistry(t)
	push(t, reg.host+"/ok:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	tests := []struct {
		name     string
		status   int
		failures int
		retries  int
		wantErr  bool
		want     int // requests for the manifest
	}{
		{"passes", 502, 2, 0, false, 3},
		{"too often", 502, 100, 2, true, 3},
		{"never", 502, 100, -1, true, 1},
		{"in vain", 404, 100, 2, true, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			left := tt.failures
			var mu sync.Mutex
			reg.set(func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if !strings.Contains(r.URL.Path, "manifests") || left == 0 {
					return false
				}
				left--
				w.WriteHeader(tt.status)
				return true
			}, nil)
			o := quick()
			o.Retries = tt.retries
			told := 0
			o.Progress = func(e ProgressEvent) {
				if e.Kind == Retrying {
					told++
				}
			}
			_, err := openTest(t).Pull(t.Context(), reg.host+"/ok:1", o)
			if (err != nil) != tt.wantErr {
				t.Errorf("error = %v", err)
			}
			if got := reg.count("GET /v2/ok/manifests"); got != tt.want || told != tt.want-1 {
				t.Errorf("%d requests, %d retries told; want %d requests", got, told, tt.want)
			}
		})
	}
}

func TestSignaturePolicy(t *testing.T) {
	unpacks(t)
	host, dir := testRegistry(t), t.TempDir()
	push(t, host+"/ok:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	tests := []struct {
		name, policy string
		wantErr      bool
	}{
		{"reject", `{"default":[{"type":"reject"}]}`, true},
		{"reject this registry", `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"` + host + `":[{"type":"reject"}]}}}`, true},
		{"signed", `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/nowhere"}]}`, true},
		{"malformed", `{"default":`, true},
		{"unknown key", `{"default":[{"type":"insecureAcceptAnything"}],"extra":1}`, true},
		{"accept", `{"default":[{"type":"insecureAcceptAnything"}]}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeFile(t, dir, "policy.json", tt.policy)
			s := openTest(t, func(c *Config) { c.Registries.Policy = path })
			_, err := s.Pull(t.Context(), host+"/ok:1", quick())
			if (err != nil) != tt.wantErr || tt.wantErr && !errors.Is(err, ErrSignature) {
				t.Errorf("error = %v", err)
			}
			if tt.wantErr {
				oneLine(t, err)
			}
			noTemp(t, s)
		})
	}
	t.Run("none, or the host's own", func(t *testing.T) {
		t.Setenv("HOME", t.TempDir())
		s := openTest(t, func(c *Config) { c.Registries.Policy = "" })
		if _, err := s.Pull(t.Context(), host+"/ok:1", quick()); err != nil {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("named by the environment and absent", func(t *testing.T) {
		t.Setenv("CONTAINERS_POLICY_JSON", filepath.Join(dir, "none"))
		s := openTest(t, func(c *Config) { c.Registries.Policy = "" })
		if _, err := s.Pull(t.Context(), host+"/ok:1", quick()); !errors.Is(err, ErrSignature) {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("named and absent", func(t *testing.T) {
		s := openTest(t, func(c *Config) { c.Registries.Policy = filepath.Join(dir, "none") })
		if _, err := s.Pull(t.Context(), host+"/ok:1", quick()); !errors.Is(err, ErrSignature) {
			t.Errorf("error = %v", err)
		}
	})
}

func TestPlatformAndDigest(t *testing.T) {
	unpacks(t)
	s, host, ctx := openTest(t), testRegistry(t), t.Context()
	amd, arm := testImage(t, "amd64", testLayer(t, map[string]string{"f": "amd"})), testImage(t, "arm64", testLayer(t, map[string]string{"f": "arm"}))
	index := pushIndex(t, host+"/both:1", amd, arm)
	for _, tt := range []struct{ ref, platform, want string }{
		{host + "/both:1", "", "amd64"},
		{host + "/both:1", "linux/arm64", "arm64"},
		{host + "/both@" + index, "linux/amd64", "amd64"},
		{host + "/both:1@" + index, "arm64", "arm64"},
	} {
		o := quick()
		var err error
		if o.Platform, err = ParsePlatform(tt.platform); err != nil {
			t.Fatal(err)
		}
		im, err := s.Pull(ctx, tt.ref, o)
		if err != nil || im.Architecture != tt.want {
			t.Errorf("Pull(%s, %s) = %s, %v; want %s", tt.ref, tt.platform, im.Architecture, err, tt.want)
		}
		if !slices.Contains(im.Digests, index) {
			t.Errorf("digests = %v, without the index's %s", im.Digests, index)
		}
	}
	// Missing has to look at the platform of what is here.
	o := quick()
	o.Policy, o.Platform = PullMissing, Platform{"linux", "amd64", ""}
	if im, err := s.Pull(ctx, host+"/both:1", o); err != nil || im.Architecture != "amd64" {
		t.Errorf("Pull missing = %s, %v", im.Architecture, err)
	}
	for _, bad := range []string{"/", "linux/", "a/b/c/d", "linux/amd64/../x", "LINUX/amd64"} {
		if _, err := ParsePlatform(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("ParsePlatform(%q) = %v", bad, err)
		}
	}
}

func TestPullPolicies(t *testing.T) {
	unpacks(t)
	reg, ctx := faultyRegistry(t), t.Context()
	s := openTest(t)
	push(t, reg.host+"/p:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "old"})))
	pull := func(p PullPolicy) (Image, error) {
		o := quick()
		o.Policy = p
		return s.Pull(ctx, reg.host+"/p:1", o)
	}
	old, err := pull(PullMissing)
	if err != nil {
		t.Fatal(err)
	}
	push(t, reg.host+"/p:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "new"})))
	reg.set(nil, nil)
	for _, p := range []PullPolicy{PullMissing, PullNever} {
		if im, err := pull(p); err != nil || im.ID != old.ID || reg.count("/v2") > 0 {
			t.Errorf("pull %s = %s, %v, %d requests", p, im.ID, err, reg.count("/v2"))
		}
	}
	newer, err := pull(PullNewer)
	if err != nil || newer.ID == old.ID {
		t.Errorf("newer = %s, %v", newer.ID, err)
	}
	reg.set(nil, nil)
	if im, err := pull(PullNewer); err != nil || im.ID != newer.ID || reg.count("GET /v2/p/") > 0 {
		t.Errorf("newer again = %s, %v; %d requests", im.ID, err, reg.count("GET /v2/p/"))
	}
	reg.set(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true }, nil)
	if im, err := pull(PullNewer); err != nil || im.ID != newer.ID {
		t.Errorf("newer from a broken registry = %s, %v", im.ID, err)
	}
	if _, err := pull(PullAlways); !errdefs.IsUnavailable(err) {
		t.Errorf("always from a broken registry: %v", err)
	}
	if im, err := s.Get(ctx, old.ID); err != nil || !im.Dangling() {
		t.Errorf("the old image = %+v, %v", im.Names, err)
	}
	if _, err := ParsePullPolicy("sometimes"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("ParsePullPolicy = %v", err)
	}
}

func TestRegistriesConf(t *testing.T) {
	unpacks(t)
	reg, mirror, ctx := faultyRegistry(t), faultyRegistry(t), t.Context()
	im := testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"}))
	push(t, reg.host+"/lib/app:1", im)
	push(t, mirror.host+"/copy/app:1", im)
	dead := deadAddress(t)
	tests := []struct {
		name, conf, ref string
		want            string // the image's name
		wantErr         error
	}{
		{"insecure", "[[registry]]\nlocation=\"" + reg.host + "\"\ninsecure=true\n", reg.host + "/lib/app:1", reg.host + "/lib/app:1", nil},
		{"mirror", "[[registry]]\nprefix=\"example.invalid/lib\"\nlocation=\"" + dead + "/lib\"\n[[registry.mirror]]\nlocation=\"" + mirror.host + "/copy\"\ninsecure=true\n", "example.invalid/lib/app:1", "example.invalid/lib/app:1", nil},
		{"mirror down", "[[registry]]\nprefix=\"example.invalid\"\nlocation=\"" + reg.host + "\"\ninsecure=true\n[[registry.mirror]]\nlocation=\"" + dead + "\"\n", "example.invalid/lib/app:1", "example.invalid/lib/app:1", nil},
		{"blocked", "[[registry]]\nlocation=\"" + reg.host + "\"\nblocked=true\n", reg.host + "/lib/app:1", "", errdefs.ErrPermissionDenied},
		{"alias", "[[registry]]\nlocation=\"" + reg.host + "\"\ninsecure=true\n[aliases]\n\"application\"=\"" + reg.host + "/lib/app\"\n", "application:1", reg.host + "/lib/app:1", nil},
		{"search", "unqualified-search-registries=[\"" + mirror.host + "\",\"" + reg.host + "\"]\nshort-name-mode=\"permissive\"\n[[registry]]\nlocation=\"" + reg.host + "\"\ninsecure=true\n[[registry]]\nlocation=\"" + mirror.host + "\"\ninsecure=true\n", "lib/app:1", reg.host + "/lib/app:1", nil},
		{"enforcing", "unqualified-search-registries=[\"a.invalid\",\"b.invalid\"]\nshort-name-mode=\"enforcing\"\n", "app", "", errdefs.ErrInvalidArgument},
		{"malformed", "unqualified-search-registries=[", "app", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openTest(t, func(c *Config) { c.Registries.Conf = writeFile(t, t.TempDir(), "registries.conf", tt.conf) })
			got, err := s.Pull(ctx, tt.ref, PullOptions{Retries: -1})
			if tt.want == "" {
				if err == nil || tt.wantErr != nil && !errors.Is(err, tt.wantErr) {
					t.Errorf("error = %v, want %v", err, tt.wantErr)
				}
				oneLine(t, err)
				return
			}
			if err != nil || !slices.Equal(got.Names, []string{tt.want}) {
				t.Fatalf("Pull = %v, %v", got.Names, err)
			}
			if found, err := s.Resolve(ctx, tt.ref); err != nil || found.ID != got.ID {
				t.Errorf("Resolve(%q) = %v, %v", tt.ref, found.ID, err)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	unpacks(t)
	reg, dir := faultyRegistry(t), t.TempDir()
	push(t, reg.host+"/priv/app:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		if user, pass, ok := r.BasicAuth(); ok && user == "me" && pass == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}, nil)
	auth := func(pass string) string {
		return writeFile(t, dir, pass+".json", `{"auths":{"`+reg.host+`":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("me:"+pass))+`"}}}`)
	}
	tests := []struct {
		name    string
		change  func(*Registry)
		env     string
		wantErr bool
	}{
		{name: "none", wantErr: true},
		{name: "explicit", change: func(r *Registry) { r.Creds = &Credentials{Username: "me", Password: "secret"} }},
		{name: "explicit and wrong", change: func(r *Registry) { r.Creds = &Credentials{Username: "me", Password: "wrong"} }, wantErr: true},
		{name: "auth file", change: func(r *Registry) { r.AuthFile = auth("secret") }},
		{name: "auth file and wrong", change: func(r *Registry) { r.AuthFile = auth("wrong") }, wantErr: true},
		{name: "explicit over auth file", change: func(r *Registry) {
			r.AuthFile, r.Creds = auth("wrong"), &Credentials{Username: "me", Password: "secret"}
		}},
		{name: "environment", env: auth("secret")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("REGISTRY_AUTH_FILE", tt.env)
			s := openTest(t, func(c *Config) {
				if tt.env != "" {
					c.Registries.AuthFile = ""
				}
			})
			o := quick()
			if tt.change != nil {
				tt.change(&o.Registry)
			}
			_, err := s.Pull(t.Context(), reg.host+"/priv/app:1", o)
			if (err != nil) != tt.wantErr || tt.wantErr && !(errdefs.IsPermissionDenied(err) && errdefs.IsUnauthorized(err)) {
				t.Errorf("error = %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells a password: %v", err)
			}
		})
	}
}
