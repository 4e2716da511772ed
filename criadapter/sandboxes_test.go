package criadapter

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/pod"
)

// testPods are on empty roots, and can be recorded: nothing else.
func testPods(t *testing.T) (*pod.Controller, *ctr.Controller) {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	p := record.Paths{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")}
	if _, err := record.EnsureBoot(p); err != nil {
		t.Fatal(err)
	}
	ctrs, err := ctr.New(ctr.Options{Paths: p, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := pod.New(pod.Options{Paths: p, Containers: ctrs, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return pods, ctrs
}

// What fits several is refused, where what fits none is stopped and removed already.
func TestAmbiguousIDs(t *testing.T) {
	pods, ctrs := testPods(t)
	begin := map[byte]bool{}
	var short string
	for short == "" { // of 17 IDs two begin alike
		s, err := pods.Create(t.Context(), pod.Config{Owner: record.OwnerCRI, Name: ctr.NewID()})
		if err != nil {
			t.Fatal(err)
		}
		if begin[s.ID[0]] {
			short = s.ID[:1]
		}
		begin[s.ID[0]] = true
	}
	s, k := &sandboxServer{pods: pods, now: time.Now}, &containerServer{pods: pods, containers: ctrs}
	for _, tt := range []struct {
		id   string
		want codes.Code
	}{{short, codes.InvalidArgument}, {"z", codes.OK}, {"", codes.InvalidArgument}} {
		_, err := s.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: tt.id})
		if got := status.Code(statusOf(t.Context(), err)); got != tt.want {
			t.Errorf("stopping %q: %v", tt.id, err)
		}
		_, err = s.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: tt.id})
		if got := status.Code(statusOf(t.Context(), err)); got != tt.want {
			t.Errorf("removing %q: %v", tt.id, err)
		}
	}
	if _, err := k.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: "z"}); err != nil {
		t.Error(err)
	}
}

// What changes after the time of a status was taken may be in it; what changed before
// must be.
func TestTimeOfStatus(t *testing.T) {
	pods, _ := testPods(t)
	made, err := pods.Create(t.Context(), pod.Config{Owner: record.OwnerCRI, Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	at, gone := time.Unix(100, 0), false
	s := &sandboxServer{pods: pods, now: func() time.Time {
		if gone {
			if err := pods.Remove(t.Context(), made.ID, pod.RemoveOptions{}); err != nil {
				t.Error(err)
			}
		}
		return at
	}}
	ask := func() (*runtimeapi.PodSandboxStatusResponse, error) {
		return s.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: made.ID})
	}
	if got, err := ask(); err != nil || got.Timestamp != at.UnixNano() {
		t.Errorf("got %v, %v", got, err)
	}
	gone = true
	if got, err := ask(); !errdefs.IsNotFound(err) {
		t.Errorf("removed before the time that the status is of: %v, %v", got, err)
	}
}
