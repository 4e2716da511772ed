package ctrcmd

import (
	"testing"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

func TestGuardNamesThePod(t *testing.T) {
	for want, labels := range map[string]map[string]string{
		`container "web" is owned by the kubelet (web), which would make it anew`:            nil,
		`container "web" is owned by the kubelet (pod shop/web-0), which would make it anew`: {"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop"},
	} {
		err := guard(ctr.Container{Config: ctr.Config{Name: "web", Owner: record.OwnerCRI, Labels: labels}}, nil)
		if err == nil || err.Error() != want {
			t.Errorf("it says %v, want %s", err, want)
		}
	}
}
