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

	"github.com/containerd/errdefs"
)

func TestF45CancelAndPullAgain(t *testing.T) {
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

// What a pull has brought is for those who wait while it holds the lock. One that is
// killed with the result written down leaves the file: who comes then pulls, and who
// waits for that one gets what it brings, or pulls when it brings nothing.
func TestPullKilledWithItsResult(t *testing.T) {
	s := openTest(t)
	id, newer := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	lock := func() *pullLock {
		t.Helper()
		l, err := s.lockPull(t.Context(), "key", func() {})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for _, brought := range []string{newer, ""} {
		killed := lock()
		killed.publish(id)
		_ = killed.file.Close()
		holder := lock()
		if holder.result != "" {
			t.Errorf("a pull that was killed has brought %s for who comes later", holder.result)
		}
		waiting, waiter := make(chan struct{}), make(chan *pullLock)
		go func() {
			l, err := s.lockPull(t.Context(), "key", func() { close(waiting) })
			if err != nil {
				t.Error(err)
			}
			waiter <- l
		}()
		<-waiting
		if brought != "" {
			holder.publish(brought)
		}
		holder.release()
		if l := <-waiter; l == nil || l.result != brought {
			t.Errorf("who waited has %+v, not %q", l, brought)
		} else {
			l.release()
		}
	}
	noTemp(t, s)
}

func TestF45WaitingPullGoesOnAfterAFailure(t *testing.T) {
	unpacks(t)
	reg := faultyRegistry(t)
	push(t, reg.host+"/w:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	s := openTest(t)
	other, err := Open(t.Context(), s.cfg) // as another process
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
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
	im, err := other.Pull(t.Context(), reg.host+"/w:1", o)
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

// joined is three pulls of one image that wait for each other, and how to let
// the registry answer.
type joined struct {
	cancel [3]context.CancelFunc
	done   [3]chan error
	reg    *fault
	goOn   chan struct{} // to be closed: the registry answers
	gone   chan struct{} // closed when the transfer was cut off
}

func joinThree(t *testing.T, s *Store) *joined {
	t.Helper()
	reg := faultyRegistry(t)
	push(t, reg.host+"/j:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	j := &joined{reg: reg, goOn: make(chan struct{}), gone: make(chan struct{})}
	var once sync.Once
	begun := make(chan struct{})
	reg.set(func(w http.ResponseWriter, r *http.Request) (blocked bool) {
		once.Do(func() {
			close(begun)
			select {
			case <-r.Context().Done():
				blocked = true
				close(j.gone)
			case <-j.goOn:
			}
		})
		return blocked
	}, nil)
	waiting := make(chan struct{}, 3)
	for i := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		j.cancel[i], j.done[i] = cancel, make(chan error, 1)
		o := quick()
		o.Progress = func(e ProgressEvent) {
			if e.Kind == PullWaiting {
				waiting <- struct{}{}
			}
		}
		go func() {
			_, err := s.Pull(ctx, reg.host+"/j:1", o)
			j.done[i] <- err
		}()
		if i == 0 {
			<-begun
		} else {
			<-waiting
		}
	}
	return j
}

func TestF45JoinedPullSurvivesItsFirstCaller(t *testing.T) {
	unpacks(t)
	j := joinThree(t, openTest(t))
	j.cancel[0]()
	if err := <-j.done[0]; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that gave up: %v", err)
	}
	close(j.goOn)
	for i := 1; i < 3; i++ {
		if err := <-j.done[i]; err != nil {
			t.Errorf("pull %d: %v", i, err)
		}
	}
	if n := j.reg.count("GET /v2/j/manifests"); n != 1 {
		t.Errorf("%d manifests asked for, want 1", n)
	}
}

func TestF45JoinedPullEndsWithItsLastCaller(t *testing.T) {
	unpacks(t)
	s := openTest(t)
	j := joinThree(t, s)
	for i := range 3 {
		j.cancel[i]()
	}
	for i := range 3 {
		if err := <-j.done[i]; !errors.Is(err, context.Canceled) {
			t.Errorf("pull %d: %v", i, err)
		}
	}
	select {
	case <-j.gone:
	case <-time.After(5 * time.Second):
		t.Error("the transfer goes on for nobody")
	}
	noTemp(t, s)
	if len(s.pulls.flights) > 0 {
		t.Errorf("%d pulls are left", len(s.pulls.flights))
	}
	if _, err := s.Pull(t.Context(), j.reg.host+"/j:1", quick()); err != nil {
		t.Errorf("pulling again: %v", err)
	}
}

func TestUnequalPullsDoNotJoin(t *testing.T) {
	p := func(change func(*PullOptions)) string {
		o := PullOptions{Registry: Registry{Creds: &Credentials{Username: "u", Password: "p"}}}
		if change != nil {
			change(&o)
		}
		return puller{o: o}.flightKey("x:1")
	}
	same := p(nil)
	if p(func(o *PullOptions) { o.Progress = func(ProgressEvent) {} }) != same {
		t.Error("who listens keeps pulls apart")
	}
	for name, change := range map[string]func(*PullOptions){
		"password": func(o *PullOptions) { o.Registry.Creds = &Credentials{Username: "u", Password: "q"} },
		"no creds": func(o *PullOptions) { o.Registry.Creds = nil },
		"token": func(o *PullOptions) {
			o.Registry.Creds = &Credentials{Username: "u", Password: "p", RegistryToken: "t"}
		},
		"platform": func(o *PullOptions) { o.Platform = Platform{Architecture: "arm64"} },
		"owner":    func(o *PullOptions) { o.Owner = "cri" },
		"policy":   func(o *PullOptions) { o.Policy = PullMissing },
	} {
		if p(change) == same {
			t.Errorf("%s: joined", name)
		}
	}
}

func TestF45StalledPull(t *testing.T) {
	unpacks(t)
	reg := faultyRegistry(t)
	im := testImage(t, "amd64", testLayer(t, map[string]string{"f": strings.Repeat("0123456789abcdef", 1<<12)}))
	push(t, reg.host+"/slow:1", im)
	for _, tt := range []struct{ name, path string }{
		{"manifest", "/manifests/"},
		{"blob", "/blobs/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := openTest(t, func(c *Config) { c.Stall = 300 * time.Millisecond })
			reg.set(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, tt.path) {
					return false
				}
				w.Header().Set("Content-Length", "100000")
				_, _ = w.Write(make([]byte, 10)) // then nothing more
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return true
			}, nil)
			defer reg.set(nil, nil)
			o := quick()
			begin := time.Now()
			_, err := s.Pull(t.Context(), reg.host+"/slow:1", o)
			if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "has sent nothing for 300ms") {
				t.Errorf("error = %v", err)
			}
			if took := time.Since(begin); took < 300*time.Millisecond || took > 10*time.Second {
				t.Errorf("given up after %v", took)
			}
			noTemp(t, s)
		})
	}
	t.Run("slow but steady", func(t *testing.T) {
		s := openTest(t, func(c *Config) { c.Stall = 2 * time.Second })
		reg.set(func(_ http.ResponseWriter, _ *http.Request) bool {
			time.Sleep(200 * time.Millisecond)
			return false
		}, nil)
		defer reg.set(nil, nil)
		if _, err := s.Pull(t.Context(), reg.host+"/slow:1", quick()); err != nil {
			t.Error(err)
		}
	})
}

func TestF45StallWatchStandsStillWhileUnpacking(t *testing.T) {
	fired := make(chan struct{}, 1)
	w := newStallWatch(50*time.Millisecond, func() { fired <- struct{}{} })
	defer w.stop()
	w.see(BlobStarted)
	w.see(BlobDone)
	select {
	case <-fired:
		t.Error("it ran while nothing was on its way")
	case <-time.After(200 * time.Millisecond):
	}
	w.see(BlobStarted)
	select {
	case <-fired:
	case <-time.After(5 * time.Second):
		t.Error("it does not run any more")
	}
}
