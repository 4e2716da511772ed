package img

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCancelAndPullAgain(t *testing.T) {
	unpacks(t)
	reg := faultyRegistry(t)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	layers := []map[string]string{{"small": "x"}, {"big": big}}
	im := testImage(t, "amd64", testLayer(t, layers[0]), testLayer(t, layers[1]))
	push(t, reg.host+"/big:1", im)
	ls, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	stuck, err := ls[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	s := openTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, stuck.String()) || r.Method != http.MethodGet {
			return false
		}
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(make([]byte, 1000)) // then nothing more
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	}, nil)
	begin := time.Now()
	_, err = s.Pull(ctx, reg.host+"/big:1", quick())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	oneLine(t, err)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("cancelling took %v", took)
	}
	noTemp(t, s)
	if list, err := s.List(t.Context(), ListOptions{All: true}); err != nil || len(list) > 0 {
		t.Errorf("after the cancel: %v, %v", list, err)
	}
	reg.set(nil, nil)
	got, err := s.Pull(t.Context(), reg.host+"/big:1", quick())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "c", Image: got.ID}); err != nil {
		t.Error(err)
	}
	noTemp(t, s)
}

func TestConcurrentPullsTransferOnce(t *testing.T) {
	unpacks(t)
	reg := faultyRegistry(t)
	im := testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"}), testLayer(t, map[string]string{"g": "y"}))
	push(t, reg.host+"/once:1", im)
	var once sync.Once
	all, begun := make(chan struct{}), make(chan struct{})
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		once.Do(func() { close(begun) })
		<-all // until the others wait
		return false
	}, nil)
	s := openTest(t)
	const pullers = 5
	var (
		wg      sync.WaitGroup
		waiting = make(chan struct{}, pullers)
		got     [pullers]Image
		errs    [pullers]error
	)
	for i := range pullers {
		wg.Go(func() {
			o := quick()
			o.Progress = func(e ProgressEvent) {
				if e.Kind == PullWaiting {
					waiting <- struct{}{}
				}
			}
			got[i], errs[i] = s.Pull(t.Context(), reg.host+"/once:1", o)
		})
	}
	<-begun
	for range pullers - 1 {
		<-waiting
	}
	close(all)
	wg.Wait()
	for i := range pullers {
		if errs[i] != nil || got[i].ID != got[0].ID {
			t.Errorf("pull %d = %s, %v", i, got[i].ID, errs[i])
		}
	}
	if n := reg.count("GET /v2/once/blobs"); n != 3 {
		t.Errorf("%d blobs transferred, want 3", n)
	}
	if n := reg.count("GET /v2/once/manifests"); n != 1 {
		t.Errorf("%d manifests asked for, want 1", n)
	}
	noTemp(t, s)
}

func TestWaitingPullGoesOnAfterAFailure(t *testing.T) {
	unpacks(t)
	reg := faultyRegistry(t)
	push(t, reg.host+"/w:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	s := openTest(t)
	first, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := make(chan struct{})
	var once sync.Once
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		blocked := false
		once.Do(func() {
			close(begun)
			<-r.Context().Done()
			blocked = true
		})
		return blocked
	}, nil)
	failed := make(chan error, 1)
	go func() {
		_, err := s.Pull(first, reg.host+"/w:1", quick())
		failed <- err
	}()
	<-begun
	o := quick()
	o.Progress = func(e ProgressEvent) {
		if e.Kind == PullWaiting {
			cancel()
		}
	}
	im, err := s.Pull(t.Context(), reg.host+"/w:1", o)
	if err != nil || im.ID == "" {
		t.Errorf("the pull that waited = %v, %v", im.ID, err)
	}
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the pull that was cancelled: %v", err)
	}
}

func TestOwners(t *testing.T) {
	unpacks(t)
	s, host := openTest(t), testRegistry(t)
	push(t, host+"/o:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	push(t, host+"/o:2", testImage(t, "amd64", testLayer(t, map[string]string{"f": "y"})))
	pull := func(tag, owner string, policy PullPolicy) []string {
		t.Helper()
		o := quick()
		o.Owner, o.Policy = owner, policy
		im, err := s.Pull(t.Context(), host+"/o:"+tag, o)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(im.Pulled)
		return im.Pulled
	}
	if got := pull("1", "cri", PullAlways); !slices.Equal(got, []string{"cri"}) {
		t.Errorf("pulled by %v", got)
	}
	if got := pull("1", "cli", PullMissing); !slices.Equal(got, []string{"cli", "cri"}) {
		t.Errorf("pulled by %v", got)
	}
	if got := pull("2", "", PullAlways); len(got) > 0 {
		t.Errorf("pulled by %v", got)
	}
	if got := pull("2", "cri", PullMissing); len(got) > 0 {
		t.Errorf("an image that was here became CRI's: %v", got)
	}
}
