package pod

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/selinux"
	"github.com/davit-containers/davit/ctr/spec"
)

// policy is a host with SELinux that draws the levels s0:c1, s0:c2, … unless they
// are in use.
type policy struct{ held []string }

func (p *policy) Enabled() bool { return true }

func (p *policy) Init(options, inUse []string) (process, mount string, err error) {
	if slices.Contains(options, "disable") {
		return "", "u:r:files_t:none", nil
	}
	for i := range 10 {
		if l := fmt.Sprintf("s0:c%d", i+1); !slices.Contains(inUse, "u:r:run_t:"+l) {
			for _, o := range options {
				_, _ = fmt.Sscanf(o, "level:%s", &l)
			}
			p.held = append(p.held, "u:r:run_t:"+l)
			return "u:r:run_t:" + l, "u:r:files_t:" + l, nil
		}
	}
	return "", "", nil
}

func (p *policy) Release(l string) {
	p.held = slices.DeleteFunc(p.held, func(h string) bool { return h == l })
}
func (p *policy) FileLabel(string) (string, error) { return "", nil }
func (p *policy) Relabel(string, string) error     { return nil }

// A pod's level is its own, and is on record: every process that draws one sees it,
// until the pod goes.
func TestPodLevels(t *testing.T) {
	p := &policy{}
	c := testController(t, noNetworks{})
	c.riser.o.SELinux = selinux.Labeller{Kernel: p}
	create := func(name string, want int) string {
		t.Helper()
		s, err := c.Create(t.Context(), Config{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		read, err := c.Get(t.Context(), s.ID)
		label := spec.SELinux{ProcessLabel: fmt.Sprintf("u:r:run_t:s0:c%d", want), MountLabel: fmt.Sprintf("u:r:files_t:s0:c%d", want)}
		if diff := cmp.Diff(label, read.Config.SELinux); diff != "" || err != nil {
			t.Errorf("pod %s: error %v; -want +got\n%s", name, err, diff)
		}
		return s.ID
	}
	first := create("one", 1)
	create("two", 2)
	if err := c.Remove(t.Context(), first, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	create("three", 1)
	if len(p.held) > 0 {
		t.Errorf("still held: %q", p.held)
	}
}

func TestContainerLabels(t *testing.T) {
	c := testController(t, noNetworks{})
	c.riser.o.SELinux = selinux.Labeller{Kernel: &policy{}}
	given := spec.SELinux{ProcessLabel: "u:r:run_t:s0:c7", MountLabel: "u:r:files_t:s0:c7"}
	free := spec.SELinux{MountLabel: "u:r:files_t:none"}
	host := spec.Namespace{Mode: spec.ModeHost}
	for name, tt := range map[string]struct {
		pod  Namespaces
		cfg  ctr.Config
		want spec.SELinux
	}{
		"its pod's":     {want: given},
		"privileged":    {cfg: ctr.Config{Security: spec.Security{Privileged: true}}, want: free},
		"host's PIDs":   {pod: Namespaces{PID: spec.ModeHost}, want: free},
		"own PIDs":      {pod: Namespaces{PID: spec.ModeHost}, cfg: ctr.Config{Namespaces: spec.Namespaces{PID: spec.Namespace{Mode: spec.ModePrivate}}}, want: given},
		"host's by own": {cfg: ctr.Config{Namespaces: spec.Namespaces{PID: host}}, want: free},
		"host's IPC":    {cfg: ctr.Config{Namespaces: spec.Namespaces{IPC: host}}, want: free},
		"host's net":    {cfg: ctr.Config{Namespaces: spec.Namespaces{Network: host}}, want: given},
		"somebody's":    {cfg: ctr.Config{Security: spec.Security{SELinux: spec.SELinux{ProcessLabel: "x", MountLabel: "y"}}}, want: given},
	} {
		got, err := c.labelled(Config{Namespaces: tt.pod, SELinux: given}, tt.cfg)
		if diff := cmp.Diff(tt.want, got.Security.SELinux); diff != "" || err != nil {
			t.Errorf("%s: error %v; -want +got\n%s", name, err, diff)
		}
	}
}

func TestLaunchLabels(t *testing.T) {
	p := &policy{}
	c := testController(t, noNetworks{})
	c.riser.o.SELinux = selinux.Labeller{Kernel: p}
	l, err := c.labelledLaunch(t.Context(), Launch{Pod: &Config{}, Container: ctr.Config{
		Security: spec.Security{SELinux: spec.SELinux{Options: []string{"level:s0:c9"}}},
	}})
	want := spec.SELinux{Options: []string{"level:s0:c9"}, ProcessLabel: "u:r:run_t:s0:c9", MountLabel: "u:r:files_t:s0:c9"}
	if diff := cmp.Diff([]spec.SELinux{want, want}, []spec.SELinux{l.Pod.SELinux, l.Container.Security.SELinux}); diff != "" || err != nil {
		t.Errorf("alone: error %v; -want +got\n%s", err, diff)
	}
	s, err := c.Create(t.Context(), Config{Name: "web", Owner: record.OwnerCLI})
	if err != nil {
		t.Fatal(err)
	}
	l, err = c.labelledLaunch(t.Context(), Launch{Container: ctr.Config{Sandbox: s.ID}})
	if diff := cmp.Diff(s.Config.SELinux, l.Container.Security.SELinux); diff != "" || err != nil {
		t.Errorf("in a pod: error %v; -want +got\n%s", err, diff)
	}
}
