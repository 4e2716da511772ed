package criadapter

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/img"
)

func TestImageUser(t *testing.T) {
	for _, tt := range []struct {
		user string
		uid  *runtimeapi.Int64Value
		name string
	}{
		{user: ""},
		{user: "0", uid: &runtimeapi.Int64Value{}},
		{user: "1002", uid: &runtimeapi.Int64Value{Value: 1002}},
		{user: "1003:1004", uid: &runtimeapi.Int64Value{Value: 1003}},
		{user: "www-data", name: "www-data"},
		{user: "www-data:1004", name: "www-data"},
		{user: "99999999999999999999", name: "99999999999999999999"},
	} {
		uid, name := imageUser(tt.user)
		if name != tt.name || (uid == nil) != (tt.uid == nil) || uid.GetValue() != tt.uid.GetValue() {
			t.Errorf("%q is %v, %q", tt.user, uid, name)
		}
	}
}

func TestCredentials(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte("jane:pass:word"))
	for _, tt := range []struct {
		name string
		in   *runtimeapi.AuthConfig
		want *img.Credentials
		err  bool
	}{
		{name: "nil"},
		{name: "empty", in: &runtimeapi.AuthConfig{ServerAddress: "x"}},
		{name: "password", in: &runtimeapi.AuthConfig{Username: "jane", Password: "p"}, want: &img.Credentials{Username: "jane", Password: "p"}},
		{name: "encoded", in: &runtimeapi.AuthConfig{Auth: encoded, ServerAddress: "r.io"}, want: &img.Credentials{Username: "jane", Password: "pass:word", Server: "r.io"}},
		{name: "padded", in: &runtimeapi.AuthConfig{Auth: base64.StdEncoding.EncodeToString([]byte("j:p\x00\x00"))}, want: &img.Credentials{Username: "j", Password: "p"}},
		{name: "identity token", in: &runtimeapi.AuthConfig{IdentityToken: "t"}, want: &img.Credentials{IdentityToken: "t"}},
		{name: "registry token", in: &runtimeapi.AuthConfig{RegistryToken: "t"}, want: &img.Credentials{RegistryToken: "t"}},
		{name: "not base64", in: &runtimeapi.AuthConfig{Auth: "s3cr3t!"}, err: true},
		{name: "no colon", in: &runtimeapi.AuthConfig{Auth: base64.StdEncoding.EncodeToString([]byte("s3cr3t"))}, err: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := credentials(tt.in)
			if tt.err != errors.Is(err, errdefs.ErrInvalidArgument) || tt.err && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("error = %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPins(t *testing.T) {
	byCRI := img.Image{Names: []string{"r.io/app/web:1", "r.io/x:latest"}, Digests: []string{"sha256:" + strings.Repeat("a", 64)}, Pulled: []string{"cri"}}
	both, podmans := byCRI, byCRI
	both.Pulled, podmans.Pulled = []string{"cli", "cri"}, nil
	for _, tt := range []struct {
		name  string
		pins  Pins
		image img.Image
		want  bool
	}{
		{"nothing", Pins{}, podmans, false},
		{"the kubelet's", Pins{Others: true}, byCRI, false},
		{"the command line's too", Pins{Others: true}, both, true},
		{"podman's", Pins{Others: true}, podmans, true},
		{"name", Pins{Patterns: []string{"r.io/app/web:1"}}, byCRI, true},
		{"no tag is latest", Pins{Patterns: []string{"r.io/x"}}, byCRI, true},
		{"no tag is not any", Pins{Patterns: []string{"r.io/app/web"}}, byCRI, false},
		{"beginning", Pins{Patterns: []string{"r.io/app/*"}}, byCRI, true},
		{"beginning of another", Pins{Patterns: []string{"app/*"}}, byCRI, false},
		{"part", Pins{Patterns: []string{"*/app/*"}}, byCRI, true},
		{"digest", Pins{Patterns: []string{"r.io/x@sha256:" + strings.Repeat("a", 64)}}, byCRI, true},
	} {
		if got := tt.pins.pinned(tt.image); got != tt.want {
			t.Errorf("%s: pinned = %v", tt.name, got)
		}
	}
}

func TestAPIImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("d", 64)
	im := img.Image{
		ID: strings.Repeat("a", 64), Names: []string{"r.io/a:1", "r.io/a:2", "q.io/b@" + digest}, Digests: []string{digest},
		Annotations: map[string]string{"k": "v"}, NamesHistory: []string{"old.io/c:1"},
	}
	got := apiImage(im, true)
	if diff := cmp.Diff([]string{"r.io/a:1", "r.io/a:2"}, got.RepoTags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"q.io/b@" + digest, "r.io/a@" + digest}, got.RepoDigests); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	if got.Id != "sha256:"+im.ID || got.Size == 0 || !got.Pinned || got.Spec.Annotations["k"] != "v" {
		t.Errorf("image = %v", got)
	}
	im.Annotations = map[string]string{"k": strings.Repeat("v", maxAnnotations-1)}
	if got := apiImage(im, false); len(got.Spec.Annotations) != 1 {
		t.Errorf("annotations of %d bytes are left out", maxAnnotations)
	}
	im.Annotations["more"] = "" // a kubelet takes 16 MiB for the list of all images
	if got := apiImage(im, false); len(got.Spec.Annotations) != 0 || got.Spec.Image == "" {
		t.Errorf("%d annotations of one that has too many", len(got.Spec.Annotations))
	}
	im.Config.User = strings.Repeat("ä", maxUsername) // kept to its beginning: none at all would be root's
	if got := apiImage(im, false); got.Username == "" || len(got.Username) > maxUsername || !strings.HasPrefix(im.Config.User, got.Username) {
		t.Errorf("user name of %d bytes", len(got.Username))
	}
	im.Config.User = strings.Repeat("u", maxUsername)
	if got := apiImage(im, false); got.Username != im.Config.User {
		t.Errorf("user name of %d bytes, want %d", len(got.Username), maxUsername)
	}
	im.Names = nil
	if diff := cmp.Diff([]string{"old.io/c@" + digest}, apiImage(im, false).RepoDigests); diff != "" {
		t.Errorf("digests of one whose tag has moved on (-want +got):\n%s", diff)
	}
}
