package ctrcmd

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

func TestGuard(t *testing.T) {
	on, off := true, false
	for _, tt := range []struct {
		name  string
		owner record.Owner
		force *bool
		hint  string // empty if nothing is refused
	}{
		{name: "one's own", owner: record.OwnerCLI},
		{name: "the kubelet's", owner: record.OwnerCRI, force: &off, hint: "change its manifest or use kubectl; --force does it all the same"},
		{name: "by force", owner: record.OwnerCRI, force: &on},
		{name: "of a verb without force", owner: record.OwnerCRI, hint: "change its manifest or use kubectl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := guard(ctr.Container{Config: ctr.Config{Name: "web", Owner: tt.owner}}, tt.force)
			if tt.hint == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errdefs.IsPermissionDenied(err) {
				t.Fatalf("%v is not a refusal", err)
			}
			if _, hint := cli.Message(err); hint != tt.hint {
				t.Errorf("hint %q, want %q", hint, tt.hint)
			}
		})
	}
}
