package cli

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record"
)

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		name  string
		owner record.Owner
		force *bool
		hint  string // empty if nothing is refused
	}{
		{name: "one's own", owner: record.OwnerCLI},
		{name: "the kubelet's", owner: record.OwnerCRI, force: new(false), hint: "change its manifest or use kubectl; --force does it all the same"},
		{name: "by force", owner: record.OwnerCRI, force: new(true)},
		{name: "of a verb without force", owner: record.OwnerCRI, hint: "change its manifest or use kubectl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Guard(tt.owner, tt.force, "it is the kubelet's")
			if tt.hint == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errdefs.IsPermissionDenied(err) {
				t.Fatalf("%v is not a refusal", err)
			}
			if text, hint := Message(err); hint != tt.hint || text != "it is the kubelet's, which would make it anew" {
				t.Errorf("%q, hint %q, want %q", text, hint, tt.hint)
			}
		})
	}
}

func TestKubePod(t *testing.T) {
	labels := map[string]string{"io.kubernetes.pod.namespace": "shop"}
	if got := KubePod(labels); got != "" {
		t.Errorf("labels without a pod's name name %q", got)
	}
	labels["io.kubernetes.pod.name"] = "web-0"
	if got := KubePod(labels); got != "shop/web-0" {
		t.Errorf("they name %q", got)
	}
}
