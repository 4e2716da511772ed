package img

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestSplitLocation(t *testing.T) {
	tests := []struct {
		ref     string
		want    location
		wantErr bool
	}{
		{ref: "alpine", want: location{rest: "alpine"}},
		{ref: "docker://a.example/b:1", want: location{rest: "a.example/b:1"}},
		{ref: "docker:24.0", want: location{rest: "docker:24.0"}},
		{ref: "a.example:5000/b", want: location{rest: "a.example:5000/b"}},
		{ref: "oci:/path:name", want: location{"oci", "/path:name"}},
		{ref: "dir:/path", want: location{"dir", "/path"}},
		{ref: "docker-archive:/f.tar:a.example/b:1", want: location{"docker-archive", "/f.tar:a.example/b:1"}},
		{ref: "oci-archive:/f.tar", want: location{"oci-archive", "/f.tar"}},
		{ref: "oci:", wantErr: true},
		{ref: "docker-daemon:x", wantErr: true},
		{ref: "containers-storage:x", wantErr: true},
	}
	for _, tt := range tests {
		got, err := splitLocation(tt.ref)
		if got != tt.want || (err != nil) != tt.wantErr || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("splitLocation(%q) = %+v, %v", tt.ref, got, err)
		}
	}
}

func TestLocalName(t *testing.T) {
	for in, want := range map[string]string{
		"x": "localhost/x:latest", "x:1": "localhost/x:1", "a/b": "localhost/a/b:latest", "localhost/x": "localhost/x:latest",
		"a.example/b:1": "a.example/b:1", "a.example:5000/b": "a.example:5000/b:latest", "docker.io/alpine": "docker.io/library/alpine:latest",
	} {
		if got, err := localName(in); err != nil || got.String() != want {
			t.Errorf("localName(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
}

func TestApplyChange(t *testing.T) {
	tests := []struct {
		change string
		want   imgspecv1.ImageConfig
	}{
		{`CMD ["a","b c"]`, imgspecv1.ImageConfig{Cmd: []string{"a", "b c"}}},
		{`CMD a b`, imgspecv1.ImageConfig{Cmd: []string{"/bin/sh", "-c", "a b"}}},
		{`cmd=["a"]`, imgspecv1.ImageConfig{Cmd: []string{"a"}}},
		{`ENTRYPOINT ["/e"]`, imgspecv1.ImageConfig{Entrypoint: []string{"/e"}}},
		{`ENV A=1 B="x y" C='z "q"' D=a\ b`, imgspecv1.ImageConfig{Env: []string{"A=1", "B=x y", `C=z "q"`, "D=a b"}}},
		{`ENV A the rest = of it`, imgspecv1.ImageConfig{Env: []string{"A=the rest = of it"}}},
		{`ENV A=1 A=2`, imgspecv1.ImageConfig{Env: []string{"A=2"}}},
		{`LABEL a=b`, imgspecv1.ImageConfig{Labels: map[string]string{"a": "b"}}},
		{`LABEL a=`, imgspecv1.ImageConfig{Labels: map[string]string{"a": ""}}},
		{`EXPOSE 80 53/UDP`, imgspecv1.ImageConfig{ExposedPorts: map[string]struct{}{"80/tcp": {}, "53/udp": {}}}},
		{`VOLUME ["/a","/b"]`, imgspecv1.ImageConfig{Volumes: map[string]struct{}{"/a": {}, "/b": {}}}},
		{`VOLUME /a /b`, imgspecv1.ImageConfig{Volumes: map[string]struct{}{"/a": {}, "/b": {}}}},
		{`USER me:us`, imgspecv1.ImageConfig{User: "me:us"}},
		{`WORKDIR /w`, imgspecv1.ImageConfig{WorkingDir: "/w"}},
		{`STOPSIGNAL 9`, imgspecv1.ImageConfig{StopSignal: "9"}},
	}
	for _, tt := range tests {
		var got imgspecv1.ImageConfig
		if err := applyChange(&got, tt.change); err != nil {
			t.Errorf("%s: %v", tt.change, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.change, diff)
		}
	}
	for _, bad := range []string{"", "CMD", "RUN x", "ENV A", `ENV A="x`, "ENV =x", "LABEL a", "COPY a b", "=x"} {
		if err := applyChange(&imgspecv1.ImageConfig{}, bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("change %q = %v", bad, err)
		}
	}
}

func TestRepoTagsAndDigests(t *testing.T) {
	d := "sha256:" + string(slices.Repeat([]byte("a"), 64))
	im := Image{Names: []string{"a.example/b:1", "a.example/b@" + d, "localhost/c:2"}, Digests: []string{d}}
	if diff := cmp.Diff([]string{"a.example/b:1", "localhost/c:2"}, im.RepoTags()); diff != "" {
		t.Errorf("RepoTags (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a.example/b@" + d, "localhost/c@" + d}, im.RepoDigests()); diff != "" {
		t.Errorf("RepoDigests (-want +got):\n%s", diff)
	}
}
