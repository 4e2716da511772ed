package imgcmd

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
)

// wantUsage says what is wrong with an error that should be one of usage.
func wantUsage(err error, want string) string {
	var usage *cli.UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
		return fmt.Sprintf("got %v, want a usage error with %q", err, want)
	}
	return ""
}

func TestParsePull(t *testing.T) {
	no := false
	base := pullOptions{Policy: "always", Retry: 3, Delay: time.Second}
	for _, tt := range []struct {
		name    string
		change  func(o *pullOptions)
		tls     bool
		want    img.PullOptions
		wantErr string
	}{
		{name: "plain", want: img.PullOptions{Policy: img.PullAlways, Retries: 3, RetryDelay: time.Second, Owner: "cli"}},
		{
			name: "registry", tls: true,
			change: func(o *pullOptions) {
				o.Registry = registryOptions{AuthFile: "/a", CertDir: "/c", Creds: "me:p:w"}
			},
			want: img.PullOptions{
				Policy: img.PullAlways, Retries: 3, RetryDelay: time.Second, Owner: "cli",
				Registry: img.Registry{AuthFile: "/a", CertDir: "/c", Creds: &img.Credentials{Username: "me", Password: "p:w"}, TLSVerify: &no},
			},
		},
		{
			name: "platform", change: func(o *pullOptions) { o.Platform, o.Policy = "linux/arm/v7", "missing" },
			want: img.PullOptions{
				Policy: img.PullMissing, Retries: 3, RetryDelay: time.Second, Owner: "cli",
				Platform: img.Platform{OS: "linux", Architecture: "arm", Variant: "v7"},
			},
		},
		{
			name: "arch", change: func(o *pullOptions) { o.Arch, o.Retry = "arm64", 0 },
			want: img.PullOptions{
				Policy: img.PullAlways, Retries: -1, RetryDelay: time.Second, Owner: "cli",
				Platform: img.Platform{Architecture: "arm64"},
			},
		},
		{name: "bad policy", change: func(o *pullOptions) { o.Policy = "sometimes" }, wantErr: "none of always, missing, newer, never"},
		{name: "bad platform", change: func(o *pullOptions) { o.Platform = "a/b/c/d" }, wantErr: "is not OS/ARCH[/VARIANT]"},
		{name: "both platforms", change: func(o *pullOptions) { o.Platform, o.Arch = "linux/arm64", "arm" }, wantErr: "use either"},
		{name: "creds without a user", change: func(o *pullOptions) { o.Registry.Creds = ":x" }, wantErr: "has no user"},
		{name: "negative retries", change: func(o *pullOptions) { o.Retry = -1 }, wantErr: "not negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := base
			if tt.change != nil {
				tt.change(&o)
			}
			got, err := o.parse(tt.tls)
			if tt.wantErr != "" {
				if bad := wantUsage(err, tt.wantErr); bad != "" {
					t.Error(bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseSave(t *testing.T) {
	for _, tt := range []struct {
		name     string
		o        saveOptions
		refs     int
		terminal bool
		want     string
	}{
		{"to a file", saveOptions{Format: "docker-archive", Output: "x"}, 2, true, ""},
		{"to a pipe", saveOptions{Format: "oci-archive"}, 1, false, ""},
		{"to a terminal", saveOptions{Format: "docker-archive"}, 1, true, "not written to a terminal"},
		{"no format", saveOptions{Format: "zip", Output: "x"}, 1, false, "none of docker-archive"},
		{"folder without a path", saveOptions{Format: "oci-dir"}, 1, false, "--output is missing"},
		{"two in a dir", saveOptions{Format: "docker-dir", Output: "x"}, 2, false, "holds one image"},
		{"compress an archive", saveOptions{Format: "docker-archive", Output: "x", Compress: true}, 1, false, "--compress is for"},
	} {
		got, err := tt.o.parse(make([]string, tt.refs), tt.terminal)
		if tt.want == "" {
			if err != nil || got.Path != tt.o.Output {
				t.Errorf("%s: %+v, %v", tt.name, got, err)
			}
		} else if bad := wantUsage(err, tt.want); bad != "" {
			t.Errorf("%s: %s", tt.name, bad)
		}
	}
}

func TestParseOthers(t *testing.T) {
	_, importURL := importOptions{}.parse([]string{"https://host/x.tar"})
	_, importPlatform := importOptions{Platform: "a/b/c/d"}.parse([]string{"x.tar"})
	_, pruneFilter := pruneOptions{Filter: []string{"nope=1"}}.parse(time.Now())
	_, pruneTime := pruneOptions{Filter: []string{"until=soon"}}.parse(time.Now())
	_, listBool := listOptions{Sort: "id", Filter: []string{"dangling=maybe"}}.parse()
	_, listKey := listOptions{Sort: "id", Filter: []string{"danglin=true"}}.parse()
	_, listTime := listOptions{Sort: "id", Filter: []string{"until=soon"}}.parse()
	_, listSort := listOptions{Sort: "colour"}.parse()
	_, listBoth := listOptions{Sort: "id", Quiet: true, Format: "json"}.parse()
	_, listField := listOptions{Sort: "id", Format: "{{.Repo}}"}.parse()
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"import URL", importURL, "is not a file"},
		{"import platform", importPlatform, "is not OS/ARCH"},
		{"prune filter", pruneFilter, `unknown filter "nope"`},
		{"prune time", pruneTime, `"soon" is not a time`},
		{"list bool", listBool, "neither true nor false"},
		{"list key", listKey, `unknown filter "danglin"`},
		{"list time", listTime, `"soon" is not a time`},
		{"list sort", listSort, "none of created"},
		{"list both", listBoth, "exclude each other"},
		{"list field", listField, `unknown field "Repo"`},
		{"rmi all and names", removeOptions{All: true}.parse([]string{"a"}), "--all takes no names"},
		{"rmi nothing", removeOptions{}.parse(nil), "an image is missing"},
	} {
		if bad := wantUsage(tt.err, tt.want); bad != "" {
			t.Errorf("%s: %s", tt.name, bad)
		}
	}
}

func TestRemoveHint(t *testing.T) {
	ids := []string{"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc", "dddddddddddddddd", "eeeeeeeeeeeeeeee"}
	roots := []img.Rootfs{{ID: ids[0], Name: "web", Ours: true}, {ID: ids[1], Ours: true}, {ID: ids[2], Name: "pod"}, {ID: ids[3], Name: "k8s_app", Ours: true}}
	known := map[string]ctr.Container{
		ids[0]: {Config: ctr.Config{Name: "web2", Owner: record.OwnerCLI}}, // renamed since
		ids[3]: {Config: ctr.Config{Name: "k8s_app", Owner: record.OwnerCRI}},
	}
	inUse := func(ids ...string) error {
		return sortUsers(ids, roots, known).hint("app", &img.InUseError{Image: "app", Containers: ids})
	}
	for _, tt := range []struct {
		name       string
		err        error
		text, hint string
		code       int
	}{
		{"in use", inUse(ids[0], ids[1], ids[4]), `image "app" is in use by web2, bbbbbbbbbbbb, eeeeeeeeeeee`,
			"davit rm web2 bbbbbbbbbbbb eeeeeeeeeeee, or davit rmi --force app", 2},
		{"in use elsewhere", inUse(ids[2]), `image "app" is in use by cccccccccccc`,
			"another program made cccccccccccc: podman ps --all --external shows them", 2},
		{"in use by the kubelet", inUse(ids[3]), `image "app" is in use by k8s_app (the kubelet's)`,
			"kubectl removes the kubelet's containers, which would be made anew", 2},
		{"in use by several", inUse(ids[0], ids[2]), `image "app" is in use by web2, cccccccccccc`,
			"davit rm web2; another program made cccccccccccc: podman ps --all --external shows them", 2},
		{"several names", removeHint("app", fmt.Errorf("%w: %w", img.ErrSeveralNames, errdefs.ErrFailedPrecondition)), "several names",
			"davit rmi --force app removes it with all its names", 2},
		{"read-only store", removeHint("app", fmt.Errorf("it is in a read-only store: %w", errdefs.ErrFailedPrecondition)), "read-only store", "", 2},
		{"other", removeHint("app", errors.New("disk on fire")), "disk on fire", "", 125},
	} {
		text, hint := cli.Message(tt.err)
		if !strings.Contains(text, tt.text) || hint != tt.hint || cli.RemoveCode(tt.err) != tt.code {
			t.Errorf("%s: %q, %q, code %d", tt.name, text, hint, cli.RemoveCode(tt.err))
		}
	}
	if (users{ours: []string{"a"}}).removable() == (users{kubelet: []string{"a"}}).removable() || (users{others: []string{"a"}}).removable() {
		t.Error("--force removes what is not the command line's own")
	}
}
