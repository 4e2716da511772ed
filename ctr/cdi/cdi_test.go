package cdi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const description = `{"cdiVersion": "0.6.0", "kind": "vendor.com/device",
	"devices": [{"name": "one", "containerEdits": {
		"env": ["ONE=1"], "deviceNodes": [{"path": "/dev/one", "hostPath": "/dev/null"}],
		"mounts": [{"hostPath": "/etc/hostname", "containerPath": "/one", "options": ["ro", "bind"]}]}}],
	"containerEdits": {"env": ["VENDOR=yes"]}}`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestInject(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "vendor.json", description)
	s := &specs.Spec{Process: &specs.Process{Env: []string{"A=1"}}, Linux: &specs.Linux{}}
	if err := Inject(s, []string{filepath.Join(dir, "absent"), dir}, []string{"vendor.com/device=one"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"A=1", "VENDOR=yes", "ONE=1"}; !slices.Equal(s.Process.Env, want) && !slices.Equal(s.Process.Env, []string{"A=1", "ONE=1", "VENDOR=yes"}) {
		t.Errorf("environment %v", s.Process.Env)
	}
	if len(s.Linux.Devices) != 1 || s.Linux.Devices[0].Path != "/dev/one" || s.Linux.Devices[0].Major != 1 || s.Linux.Devices[0].Minor != 3 {
		t.Errorf("devices %+v", s.Linux.Devices)
	}
	if rules := s.Linux.Resources.Devices; len(rules) != 1 || !rules[0].Allow || *rules[0].Minor != 3 {
		t.Errorf("device rules %+v", rules)
	}
	if len(s.Mounts) != 1 || s.Mounts[0].Destination != "/one" {
		t.Errorf("mounts %+v", s.Mounts)
	}
}

// S14: a name chooses among the descriptions, and does nothing else.
func TestInjectRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "vendor.json", description)
	write(t, dir, "broken.json", "{")
	for _, name := range []string{
		"vendor.com/device=two", "other.com/device=one", "vendor.com/other=one",
		"", "one", "vendor.com/device", "vendor.com/device=", "../../etc/cdi/vendor=one", "vendor.com/../device=one",
		"vendor.com/device=../one", "vendor.com/device=one\nX=1", "/dev/null", strings.Repeat("a", 1<<16) + "/device=one",
	} {
		s := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
		err := Inject(s, []string{dir}, []string{"vendor.com/device=one", name})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("%.40q: error %v", name, err)
		}
		if len(s.Linux.Devices)+len(s.Process.Env) > 0 {
			t.Errorf("%.40q: the spec was changed", name)
		}
	}
	err := Inject(&specs.Spec{}, []string{dir}, []string{"vendor.com/device=two"})
	if err == nil || !strings.Contains(err.Error(), `"vendor.com/device=two"`) || !strings.Contains(err.Error(), "broken.json") {
		t.Errorf("the error names neither the device nor what cannot be read: %v", err)
	}
}
