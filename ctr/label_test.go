package ctr

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/selinux"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/ctr/volume"
)

// policy is a host with SELinux, or without, that writes down what it relabels.
type policy struct {
	off        bool
	has        string
	relabelled []string
}

func (p *policy) Enabled() bool                              { return !p.off }
func (p *policy) Init(_, _ []string) (string, string, error) { return "", "", nil }
func (p *policy) Release(string)                             {}
func (p *policy) FileLabel(string) (string, error)           { return p.has, nil }
func (p *policy) Relabel(path, label string) error {
	p.relabelled = append(p.relabelled, filepath.Base(path)+" "+label)
	return nil
}

func TestMountLabels(t *testing.T) {
	dir := t.TempDir()
	label := spec.SELinux{ProcessLabel: "u:r:run_t:s0:c7", MountLabel: "u:r:files_t:s0:c7"}
	bind := func(relabel string) spec.Mount {
		return spec.Mount{Type: spec.MountBind, Source: dir, Destination: "/d", Relabel: relabel}
	}
	base := filepath.Base(dir)
	for name, tt := range map[string]struct {
		owner  record.Owner
		labels spec.SELinux
		mount  spec.Mount
		has    string
		want   []string
	}{
		"as it is":               {labels: label, mount: bind("")},
		"private":                {labels: label, mount: bind("Z"), want: []string{base + " u:r:files_t:s0:c7"}},
		"shared":                 {labels: label, mount: bind("z"), want: []string{base + " u:r:files_t:s0"}},
		"right already":          {labels: label, mount: bind("Z"), has: label.MountLabel, want: []string{base + " u:r:files_t:s0:c7"}},
		"the kubelet's":          {owner: record.OwnerCRI, labels: label, mount: bind("Z"), want: []string{base + " u:r:files_t:s0:c7"}},
		"the kubelet's, already": {owner: record.OwnerCRI, labels: label, mount: bind("Z"), has: label.MountLabel},
		"not confined":           {labels: spec.SELinux{MountLabel: "u:r:files_t:none"}, mount: bind("Z")},
		"new volume":             {labels: label, mount: spec.Mount{Type: spec.MountVolume, Source: "v", Destination: "/d"}, want: []string{"_data u:r:files_t:s0"}},
	} {
		p := &policy{has: tt.has}
		c := labelController(t, p)
		cfg := Config{Owner: tt.owner, Mounts: []spec.Mount{tt.mount}, Security: spec.Security{SELinux: tt.labels}}
		if _, err := c.creator.mountSources(t.Context(), Container{Config: cfg}, t.TempDir()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, p.relabelled); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// A label of a record goes to the runtime where there is SELinux, and nowhere else.
func TestConfinement(t *testing.T) {
	made := spec.SELinux{ProcessLabel: "u:r:run_t:s0:c7", MountLabel: "u:r:files_t:s0:c7"}
	asked := made
	asked.Options = []string{"type:run_t"}
	for name, tt := range map[string]struct {
		off      bool
		in, want spec.SELinux
		refused  bool
	}{
		"on":         {in: made, want: made},
		"asked":      {in: asked, want: asked},
		"off":        {off: true, in: made},
		"asked, off": {off: true, in: asked, refused: true},
	} {
		got, err := labelController(t, &policy{off: tt.off}).creator.confinement(spec.Security{SELinux: tt.in, AppArmor: "unconfined"})
		if (err != nil) != tt.refused || err != nil && !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: error %v", name, err)
		}
		if diff := cmp.Diff(tt.want, got.SELinux); diff != "" && !tt.refused {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func labelController(t *testing.T, p *policy) *Controller {
	t.Helper()
	dir := t.TempDir()
	c, err := New(Options{
		Paths: record.Paths{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")},
		Host:  Host{SELinux: selinux.Labeller{Kernel: p}}, Volumes: volume.New(volume.Options{Root: dir}),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
