//go:build rootful

package criadapter_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

func TestImages(t *testing.T) {
	r := newRig(t, "")
	t.Run("names", func(t *testing.T) { imageNames(t, r) })
	t.Run("pins", func(t *testing.T) { imagePins(t, r) })
	t.Run("refused", func(t *testing.T) { imageRefused(t, r) })
	t.Run("file system", func(t *testing.T) { imageFileSystem(t, r) })
	t.Run("mounts", func(t *testing.T) { imageMounts(t, r) })
}

// push makes an image of its own and pushes it under names of repository:tag.
func (r *rig) push(t *testing.T, c harness.ImageConfig, names ...string) v1.Image {
	t.Helper()
	im, err := harness.Busybox(t.Context(), c)
	for _, name := range names {
		if err == nil {
			err = r.registry.Push(t.Context(), name, im)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func (r *rig) pull(t *testing.T, ref string) string {
	t.Helper()
	out, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		t.Fatal(err)
	}
	return out.ImageRef
}

func (r *rig) imageStatus(t *testing.T, ref string) *runtimeapi.Image {
	t.Helper()
	out, err := r.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Image
}

func (r *rig) removeImage(t *testing.T, ref string) {
	t.Helper()
	if _, err := r.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}}); err != nil {
		t.Error(err)
	}
}

func imageNames(t *testing.T, r *rig) {
	im := r.push(t, harness.ImageConfig{Config: v1.Config{User: "1003:1004", Labels: map[string]string{"a": "b"}}}, "names:1", "names:2", "other/names:3")
	digest, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	id, err := im.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	one, two, three := r.registry.Ref("names:1"), r.registry.Ref("names:2"), r.registry.Ref("other/names:3")
	byDigest := r.registry.Ref("names@" + digest.String())

	if got := r.pull(t, byDigest); got != id.String() {
		t.Errorf("the pull says %s, want %s", got, id)
	}
	s := r.imageStatus(t, byDigest)
	if len(s.RepoTags) > 0 || !slices.Equal(s.RepoDigests, []string{byDigest}) {
		t.Errorf("pulled by its digest, the image has tags %v and digests %v", s.RepoTags, s.RepoDigests)
	}
	for _, ref := range []string{one, two, three} {
		if got := r.pull(t, ref); got != id.String() {
			t.Errorf("the pull of %s says %s, want %s", ref, got, id)
		}
	}
	want := r.imageStatus(t, one)
	tags := slices.Sorted(slices.Values(want.RepoTags))
	if diff := cmp.Diff([]string{one, two, three}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if want.Uid.GetValue() != 1003 || want.Username != "" || want.Size == 0 || want.Id != id.String() || want.Pinned {
		t.Errorf("image = %v", want)
	}
	hex := strings.TrimPrefix(id.String(), "sha256:")
	for _, ref := range append(want.RepoDigests, two, three, id.String(), hex, hex[:12], "sha256:"+hex[:12], digest.String()) {
		if got := r.imageStatus(t, ref); got.GetId() != id.String() || !slices.Equal(got.GetRepoTags(), want.RepoTags) {
			t.Errorf("%s is %v", ref, got)
		}
	}
	verbose, err := r.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: one}, Verbose: true})
	var info struct {
		ImageSpec struct {
			Config struct{ Labels map[string]string }
		}
	}
	if err != nil || json.Unmarshal([]byte(verbose.Info["info"]), &info) != nil || info.ImageSpec.Config.Labels["a"] != "b" {
		t.Errorf("verbose = %v, %v", verbose, err)
	}
	list, err := r.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{Filter: &runtimeapi.ImageFilter{Image: &runtimeapi.ImageSpec{Image: two}}})
	if err != nil || len(list.Images) != 1 || list.Images[0].Id != id.String() {
		t.Errorf("the filtered list is %v, %v", list, err)
	}
	// The command line takes one name away; the server sees it at once.
	r.must(t, "untag", two, two)
	if got := r.imageStatus(t, one).RepoTags; slices.Contains(got, two) || len(got) != 2 {
		t.Errorf("after the command line's untag: %v", got)
	}
	r.removeImage(t, three)
	for _, ref := range []string{one, three, id.String(), byDigest} {
		if got := r.imageStatus(t, ref); got != nil {
			t.Errorf("%s is still there: %v", ref, got)
		}
	}
	r.removeImage(t, one) // is gone already
}

func (r *rig) must(t *testing.T, args ...string) string {
	t.Helper()
	got, err := r.davit.Run(t.Context(), args...)
	if err != nil || got.Code != 0 {
		t.Fatalf("davit %v: %v, exit code %d\n%s", args, err, got.Code, got.Stderr)
	}
	return got.Line()
}

func imagePins(t *testing.T, r *rig) {
	r.push(t, harness.ImageConfig{Files: []harness.File{{Path: "/pins", Text: "x"}}}, "pins:1")
	ref := r.registry.Ref("pins:1")
	r.must(t, "pull", "-q", ref)
	if !r.imageStatus(t, ref).Pinned {
		t.Error("an image that the command line pulled is not pinned")
	}
	r.pull(t, ref)
	if !r.imageStatus(t, ref).Pinned {
		t.Error("it is not any more when a kubelet has pulled it too")
	}
	r.removeImage(t, ref)
	r.pull(t, ref)
	if r.imageStatus(t, ref).Pinned {
		t.Error("an image that only a kubelet pulled is pinned")
	}
	r.removeImage(t, ref)
}

func imageRefused(t *testing.T, r *rig) {
	for _, tt := range []struct {
		name, ref string
		auth      *runtimeapi.AuthConfig
		want      codes.Code
		say       string
	}{
		{name: "none", want: codes.InvalidArgument},
		{name: "not a reference", ref: "A/B:::", want: codes.InvalidArgument},
		{name: "absent", ref: r.registry.Ref("absent:1"), want: codes.NotFound},
		{name: "nobody there", ref: "127.0.0.1:1/x:1", want: codes.Unknown, say: "RegistryUnavailable: "},
		{name: "auth is garbage", ref: r.image, auth: &runtimeapi.AuthConfig{Auth: "s3cr3t"}, want: codes.InvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: tt.ref}, Auth: tt.auth})
			refused(t, err, tt.want)
			if got := status.Convert(err).Message(); !strings.HasPrefix(got, tt.say) || strings.Contains(got, "s3cr3t") {
				t.Errorf("it says %q", got)
			}
		})
	}
	_, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: r.image, RuntimeHandler: "nonesuch"}})
	refused(t, err, codes.InvalidArgument)
	if got := r.imageStatus(t, r.registry.Ref("absent:1")); got != nil {
		t.Errorf("an absent image is %v", got)
	}
	log, err := os.ReadFile(r.server.LogAt)
	if err != nil || strings.Contains(string(log), "s3cr3t") {
		t.Errorf("the log tells secrets (%v)", err)
	}
}

func imageFileSystem(t *testing.T, r *rig) {
	usage := func() *runtimeapi.FilesystemUsage {
		t.Helper()
		out, err := r.images.ImageFsInfo(t.Context(), &runtimeapi.ImageFsInfoRequest{})
		if err != nil || len(out.ImageFilesystems) != 1 || len(out.ContainerFilesystems) != 1 {
			t.Fatalf("%v, %v", out, err)
		}
		return out.ImageFilesystems[0]
	}
	before := usage()
	if before.UsedBytes.Value < 1<<20 || before.InodesUsed.Value < 100 || before.Timestamp == 0 {
		t.Errorf("one image takes up %v", before)
	}
	if _, err := os.Stat(before.FsId.Mountpoint); err != nil {
		t.Error(err)
	}
	files := make([]harness.File, 50)
	for i := range files {
		files[i] = harness.File{Path: fmt.Sprintf("/many/%d", i), Text: strings.Repeat("x", 1000)}
	}
	r.push(t, harness.ImageConfig{Files: files}, "many:1")
	r.pull(t, r.registry.Ref("many:1"))
	after := usage()
	if n := after.InodesUsed.Value - before.InodesUsed.Value; n < 50 || n > 60 {
		t.Errorf("50 files take %d inodes", n)
	}
	if n := after.UsedBytes.Value - before.UsedBytes.Value; n < 50_000 || n > 80_000 {
		t.Errorf("50,000 bytes take %d", n)
	}
	r.removeImage(t, r.registry.Ref("many:1"))
	if last := usage(); last.InodesUsed.Value != before.InodesUsed.Value || last.UsedBytes.Value != before.UsedBytes.Value {
		t.Errorf("after the removal %v, before the pull %v", last, before)
	}
}

func imageMounts(t *testing.T, r *rig) {
	canary := filepath.Join(r.dir, "canary")
	if err := os.WriteFile(canary, []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.push(t, harness.ImageConfig{Files: []harness.File{
		{Path: "/data/sub/file", Text: "of the image"},
		{Path: "/leak", Link: canary},
		{Path: "/up", Link: "../../../../../../../../../../../../.." + r.dir},
		{Path: "/inside", Link: "/data/sub"},
	}}, "vol:1")
	ref := r.registry.Ref("vol:1")
	id := r.pull(t, ref)
	sandbox := r.sandbox(t, r.podConfig("mounts"))
	mount := func(name, script string, m *runtimeapi.Mount) *runtimeapi.ContainerConfig {
		c := r.containerConfig(name, script)
		m.ContainerPath = "/vol"
		if m.Image == nil {
			m.Image = &runtimeapi.ImageSpec{Image: id}
		}
		c.Mounts = []*runtimeapi.Mount{m}
		return c
	}
	for _, tt := range []struct {
		name, script string
		mount        *runtimeapi.Mount
	}{
		{"whole", "grep -q 'of the image' /vol/data/sub/file", &runtimeapi.Mount{}},
		{"read-only", "! touch /vol/x && ! touch /vol/data/sub/file && ! mount -o remount,rw /vol", &runtimeapi.Mount{}},
		{"folder", "grep -q 'of the image' /vol/file", &runtimeapi.Mount{ImageSubPath: "data/sub"}},
		{"file", "grep -q 'of the image' /vol", &runtimeapi.Mount{ImageSubPath: "/data/sub/file"}},
		{"link inside", "grep -q 'of the image' /vol/file", &runtimeapi.Mount{ImageSubPath: "inside"}},
		{"noexec", "! /vol/bin/busybox true", &runtimeapi.Mount{MountOptions: []string{"noexec"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := r.run(t, sandbox, mount("m-"+strings.ReplaceAll(tt.name, " ", "-"), tt.script, tt.mount))
			if s := r.ended(t, c); s.ExitCode != 0 {
				t.Errorf("%s: exit code %d", tt.script, s.ExitCode)
			}
			m := r.status(t, c).Mounts
			if len(m) != 1 || !m[0].Readonly || m[0].Image.GetImage() != id || m[0].Image.GetImageRef() != id || m[0].ImageSubPath != tt.mount.ImageSubPath {
				t.Errorf("its status has mounts %v", m)
			}
			r.remove(t, c)
		})
	}
	for _, tt := range []struct {
		name  string
		mount *runtimeapi.Mount
		want  codes.Code
	}{
		{"absent path", &runtimeapi.Mount{ImageSubPath: "nothing"}, codes.NotFound},
		{"absent image", &runtimeapi.Mount{Image: &runtimeapi.ImageSpec{Image: r.registry.Ref("absent:1")}}, codes.NotFound},
		{"dots", &runtimeapi.Mount{ImageSubPath: "../../x"}, codes.InvalidArgument},
		{"dots inside", &runtimeapi.Mount{ImageSubPath: "data/../data"}, codes.InvalidArgument},
		{"link to the host's", &runtimeapi.Mount{ImageSubPath: "leak"}, codes.NotFound},
		{"link up", &runtimeapi.Mount{ImageSubPath: "up/canary"}, codes.NotFound},
		{"two sources", &runtimeapi.Mount{HostPath: r.dir}, codes.InvalidArgument},
		{"writable", &runtimeapi.Mount{MountOptions: []string{"rw"}}, codes.InvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mount("r-"+strings.ReplaceAll(tt.name, " ", "-"), "true", tt.mount)
			_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: c})
			refused(t, err, tt.want)
			if word := "ImageVolumeMountFailed: "; tt.mount.HostPath == "" && tt.want == codes.NotFound && !strings.HasPrefix(status.Convert(err).Message(), word) {
				t.Errorf("it does not begin with %s: %v", word, err)
			}
		})
	}
	t.Run("in use", func(t *testing.T) {
		c := r.run(t, sandbox, mount("m-use", "while [ ! -e /tmp/stop ]; do sleep 0.05; done; grep -q 'of the image' /vol/data/sub/file", &runtimeapi.Mount{}))
		inUse := func() {
			t.Helper()
			_, err := r.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
			refused(t, err, codes.FailedPrecondition)
			if !strings.Contains(status.Convert(err).Message(), c[:12]) {
				t.Errorf("it does not name the container: %v", err)
			}
		}
		inUse()
		r.restart(t)
		inUse()
		if _, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: c, Cmd: []string{"touch", "/tmp/stop"}, Timeout: 10}); err != nil {
			t.Error(err)
		}
		if s := r.ended(t, c); s.ExitCode != 0 {
			t.Errorf("after the server's restart it ended with %d", s.ExitCode)
		}
		inUse() // it may be looked at, and be started again on the command line
		r.remove(t, c)
		r.removeImage(t, ref)
		if got := r.imageStatus(t, ref); got != nil {
			t.Errorf("it is still there: %v", got)
		}
	})
	t.Run("command line", func(t *testing.T) {
		r.must(t, "pull", "-q", ref)
		got := r.must(t, "run", "--rm", "--network", "none", "--mount", "type=image,source="+ref+",destination=/vol,subpath=data/sub", r.image, "cat", "/vol/file")
		if got != "of the image" {
			t.Errorf("it reads %q", got)
		}
		r.must(t, "rmi", ref)
	})
	if text, err := os.ReadFile(canary); err != nil || string(text) != "of the host" {
		t.Errorf("the canary is %q, %v", text, err)
	}
}

func TestPullAuth(t *testing.T) {
	d := newRig(t, "")
	closed := harness.TestRegistry(t, harness.RegistryConfig{User: "jane", Password: "right"})
	im, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	if err == nil {
		err = closed.Push(t.Context(), "closed:1", im)
	}
	if err == nil {
		err = d.davit.Roots.TrustRegistry(closed.Addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	ref := closed.Ref("closed:1")
	for _, tt := range []struct {
		name string
		auth *runtimeapi.AuthConfig
		want codes.Code
	}{
		{"none", nil, codes.PermissionDenied},
		{"empty", &runtimeapi.AuthConfig{}, codes.PermissionDenied},
		{"wrong", &runtimeapi.AuthConfig{Username: "jane", Password: "wr0ng"}, codes.PermissionDenied},
		{"another registry's", &runtimeapi.AuthConfig{Username: "jane", Password: "right", ServerAddress: "https://example.org/v1/"}, codes.PermissionDenied},
		{"user and password", &runtimeapi.AuthConfig{Username: "jane", Password: "right"}, codes.OK},
		{"this registry's", &runtimeapi.AuthConfig{Username: "jane", Password: "right", ServerAddress: "http://" + closed.Addr}, codes.OK},
		{"encoded", &runtimeapi.AuthConfig{Auth: "amFuZTpyaWdodA=="}, codes.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := d.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}, Auth: tt.auth})
			refused(t, err, tt.want)
			if err != nil && (strings.Contains(err.Error(), "wr0ng") || strings.Contains(err.Error(), "right")) {
				t.Errorf("the error tells secrets: %v", err)
			}
		})
	}
	log, err := os.ReadFile(d.server.LogAt)
	if err != nil || strings.Contains(string(log), "wr0ng") {
		t.Errorf("the log tells secrets (%v)", err)
	}
}
