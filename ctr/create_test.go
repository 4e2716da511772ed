package ctr

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/img"
)

func TestMergeProcess(t *testing.T) {
	image := img.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}, Env: []string{"A=1", "PATH=/bin"}, WorkingDir: "/srv", User: "web"}
	for _, tt := range []struct {
		name    string
		in      Process
		args    []string
		cwd     string
		user    string
		wantErr error
	}{
		{name: "the image's own", args: []string{"/entry", "serve"}, cwd: "/srv", user: "web"},
		{name: "command", in: Process{Command: []string{"x"}}, args: []string{"/entry", "x"}, cwd: "/srv", user: "web"},
		{name: "entrypoint drops the command", in: Process{Entrypoint: []string{"sh"}}, args: []string{"sh"}, cwd: "/srv", user: "web"},
		{name: "entrypoint cleared", in: Process{Entrypoint: []string{""}, Command: []string{"ls"}}, args: []string{"ls"}, cwd: "/srv", user: "web"},
		{name: "user and folder", in: Process{User: "7:8", WorkingDir: "/tmp"}, args: []string{"/entry", "serve"}, cwd: "/tmp", user: "7:8"},
		{name: "nothing to run", in: Process{Entrypoint: []string{""}}, wantErr: errdefs.ErrInvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mergeProcess(image, tt.in)
			if !errors.Is(err, tt.wantErr) {
				t.Fatalf("error %v, want %v", err, tt.wantErr)
			}
			if err != nil {
				return
			}
			if d := cmp.Diff(tt.args, got.Args); d != "" {
				t.Error(d)
			}
			if got.WorkingDir != tt.cwd || got.User != tt.user {
				t.Errorf("runs in %q as %q, want %q as %q", got.WorkingDir, got.User, tt.cwd, tt.user)
			}
		})
	}
}

func TestNameVolumes(t *testing.T) {
	cfg := Config{Mounts: []spec.Mount{
		{Type: spec.MountBind, Source: "/x", Destination: "/data"},
		{Type: spec.MountVolume, Source: "named", Destination: "/named"},
		{Type: spec.MountVolume, Destination: "/anon"},
	}}
	got := nameVolumes(cfg, img.ImageConfig{Volumes: []string{"/data", "/cache"}})
	if len(got.Mounts) != 4 || got.Mounts[3].Destination != "/cache" {
		t.Fatalf("mounts %+v", got.Mounts)
	}
	if len(got.Anonymous) != 2 || got.Anonymous[0] != got.Mounts[2].Source || got.Anonymous[1] != got.Mounts[3].Source {
		t.Errorf("anonymous volumes %q of mounts %+v", got.Anonymous, got.Mounts)
	}
	if cfg.Mounts[2].Source != "" {
		t.Error("the caller's mounts were changed")
	}
}

// What an image names and is no signal would have nothing stop its containers.
func TestImageSignal(t *testing.T) {
	for image, want := range map[string]string{
		"": "", "SIGQUIT": "SIGQUIT", "9": "9", "RTMIN+3": "RTMIN+3", "BOGUS": "", "0": "", "65": "", "SIGRTMIN+99": "", "TERM ": "", "-1": "",
	} {
		if got := imageSignal(img.ImageConfig{StopSignal: image}); got != want {
			t.Errorf("an image's %q is %q, want %q", image, got, want)
		}
	}
}

// An image does not keep the host busy with checks, nor have one hang for ever.
func TestMergeHealth(t *testing.T) {
	test := []string{"CMD", "true"}
	for _, tt := range []struct {
		name  string
		asked Health
		image img.Healthcheck
		want  Health
	}{
		{name: "defaults", want: Health{Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3}},
		{
			name:  "the image's",
			image: img.Healthcheck{Interval: time.Minute, Timeout: time.Millisecond, StartPeriod: time.Hour, Retries: 7},
			want:  Health{Interval: time.Minute, Timeout: time.Millisecond, StartPeriod: time.Hour, Retries: 7},
		},
		{name: "without pause", image: img.Healthcheck{Interval: 1}, want: Health{Interval: time.Second, Timeout: 30 * time.Second, Retries: 3}},
		{
			name:  "negative",
			image: img.Healthcheck{Interval: -1, Timeout: -1, StartPeriod: -1, StartInterval: -1, Retries: -1},
			want:  Health{Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3},
		},
		{
			name:  "a user knows better",
			asked: Health{Interval: -1, Timeout: time.Second, StartPeriod: 1, Retries: 1},
			image: img.Healthcheck{Interval: 1, Timeout: -1, StartPeriod: -1, Retries: -1},
			want:  Health{Interval: -1, Timeout: time.Second, StartPeriod: 1, Retries: 1},
		},
		{
			name:  "often, as a user says",
			asked: Health{Interval: time.Millisecond},
			want:  Health{Interval: time.Millisecond, Timeout: 30 * time.Second, Retries: 3},
		},
	} {
		tt.image.Test, tt.want.Test, tt.want.OnFailure = test, test, HealthNone
		got := mergeHealth(Config{Health: &tt.asked}, img.ImageConfig{Healthcheck: &tt.image})
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
	}
	if got := mergeHealth(Config{}, img.ImageConfig{}); got != nil {
		t.Errorf("without a check: %+v", got)
	}
}

func TestJoinNamespaces(t *testing.T) {
	sb := spec.Namespaces{
		IPC: spec.Namespace{Mode: spec.ModePod, Path: "/run/ns/ipc"},
		PID: spec.Namespace{Mode: spec.ModePod, Path: "/run/ns/pid"},
	}
	got := joinNamespaces(sb, spec.Namespaces{PID: spec.Namespace{Mode: spec.ModeHost}})
	if got.IPC != sb.IPC {
		t.Errorf("IPC namespace %+v, want the sandbox's", got.IPC)
	}
	if got.PID.Mode != spec.ModeHost {
		t.Errorf("PID namespace %+v, want the container's own choice", got.PID)
	}
}

// A further process has its primary group among the others, as the first one has
// (CVE-2022-2995).
func TestExecUser(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(root+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, root+"/etc/passwd", "web:x:1000:1001::/srv:/bin/sh\n")
	write(t, root+"/etc/group", "web:x:1001:\nlogs:x:50:web\nown:x:1001:web\n")
	for user, want := range map[string]specs.User{
		"web":    {UID: 1000, GID: 1001, AdditionalGids: []uint32{50, 1001}},
		"web:50": {UID: 1000, GID: 50, AdditionalGids: []uint32{50}},
		"7:8":    {UID: 7, GID: 8, AdditionalGids: []uint32{8}},
		"0":      {AdditionalGids: []uint32{0}},
	} {
		var p specs.Process
		if err := execUser(&p, Container{Status: Status{Mounted: root}}, user); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.User); diff != "" {
			t.Errorf("%s: -want +got\n%s", user, diff)
		}
	}
}

// A process that is nobody's first is killed by a signal that it does not catch,
// so there is nothing to say about it.
func TestIgnores(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if ignores(cmd.Process.Pid, syscall.SIGTERM) {
		t.Error("a process outside of any container is said to ignore SIGTERM")
	}
}

// A deadline is for the stop that it names, whatever the clock was set to since.
func TestF35HasteNamesItsStop(t *testing.T) {
	path := t.TempDir() + "/" + hasteFile
	began := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	at := began.Add(time.Second)
	data, err := json.Marshal(haste{Of: began, Deadline: at})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(data))
	for _, set := range []time.Time{began, time.Unix(0, 0), began.Add(time.Hour), began.Add(-time.Hour)} {
		if err := os.Chtimes(path, set, set); err != nil {
			t.Fatal(err)
		}
		if got, ok := readHaste(path, began); !ok || !got.Equal(at) {
			t.Errorf("left at %s: read %v %v, want %v", set, got, ok, at)
		}
		if _, ok := readHaste(path, began.Add(time.Nanosecond)); ok {
			t.Error("the deadline of another stop was taken for this one's")
		}
	}
}
