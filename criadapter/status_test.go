package criadapter

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A kubelet shows the version of a runtime that is one of semver.org, and no other.
func TestVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3": "1.2.3", "v1.2.3": "1.2.3", "v1.2.3-rc.1": "1.2.3-rc.1", "v1.2.3-4-gfa23af2-dirty": "1.2.3-4-gfa23af2-dirty",
		"1.2.3+a.01": "1.2.3+a.01", "unknown": "0.0.0-dev+unknown", "fa23af2": "0.0.0-dev+fa23af2", "fa23af2-dirty": "0.0.0-dev+fa23af2-dirty",
		"1234567": "0.0.0-dev+1234567", "v1.2": "0.0.0-dev+v1-2", "v01.2.3": "0.0.0-dev+v01-2-3", "1.2.3-01": "0.0.0-dev+1-2-3-01",
		"release/2~é\n": "0.0.0-dev+release-2", "": "0.0.0-dev", "...": "0.0.0-dev",
	} {
		s := newStatusServer(Options{Version: version})
		got, err := s.Version(t.Context(), &runtimeapi.VersionRequest{})
		if err != nil || got.RuntimeVersion != want {
			t.Errorf("built as %q: %q, %v, want %q", version, got.GetRuntimeVersion(), err, want)
		}
	}
}
