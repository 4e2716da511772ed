//go:build rootful

package img

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/commands/harness"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// childEnv tells the test binary to do one thing and exit: what a second
// process does.
const childEnv = "DAVIT_IMG_TEST_CHILD"

// overlayTest opens a store of its own with the overlay driver, and checks in
// the end that no mount is left of it.
func overlayTest(t *testing.T, change ...func(*Config)) *Store {
	t.Helper()
	s := openTest(t, append([]func(*Config){func(c *Config) { c.Driver = "" }}, change...)...)
	if d := s.storage().GraphDriverName(); d != "overlay" {
		t.Fatalf("driver = %s", d)
	}
	root := s.storage().GraphRoot()
	t.Cleanup(func() {
		mounts := string(readFile(t, "/proc/self/mountinfo"))
		for line := range strings.Lines(mounts) {
			if strings.Contains(line, filepath.Dir(root)+"/") {
				t.Errorf("still mounted: %s", line)
			}
		}
	})
	return s
}

// child runs the test binary again as a process on the store of s.
func child(t *testing.T, s *Store, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(append([]string{s.cfg.Root, s.cfg.RunRoot, s.cfg.Registries.Conf, s.cfg.Registries.Policy}, args...), "\n"))
	return cmd
}

// TestChild is not a test but what a second process does.
func TestChild(t *testing.T) {
	args := strings.Split(os.Getenv(childEnv), "\n")
	if len(args) < 6 {
		t.Skip("run by other tests")
	}
	ctx := t.Context()
	cfg := Config{Root: args[0], RunRoot: args[1], Registries: Registries{Conf: args[2], Policy: args[3]}}
	if args[4] == "default" {
		cfg = Config{}
	}
	s, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	switch args[4] {
	case "pull":
		var im Image
		if im, err = s.Pull(ctx, args[5], quick()); err == nil {
			fmt.Println("pulled", im.ID)
		}
	case "mount":
		_, err = s.MountRootfs(ctx, args[5])
	case "default":
		fmt.Printf("store %s %s %s\n", s.storage().GraphRoot(), s.storage().RunRoot(), s.storage().GraphDriverName())
	case "unmount":
		err = s.UnmountRootfs(ctx, args[5])
	case "remove":
		for _, id := range args[5:] {
			err = errors.Join(err, s.UnmountRootfs(ctx, id), s.DeleteRootfs(ctx, id))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func busybox(t *testing.T, c harness.ImageConfig) v1.Image {
	t.Helper()
	im, err := harness.Busybox(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func TestRealRegistry(t *testing.T) {
	tests := []struct {
		name   string
		config harness.RegistryConfig
	}{
		{"open", harness.RegistryConfig{}},
		{"basic", harness.RegistryConfig{User: "me", Password: "pass:word"}},
		{"token", harness.RegistryConfig{User: "me", Password: "pass:word", Token: true}},
		{"TLS", harness.RegistryConfig{TLS: true}},
		{"TLS and basic", harness.RegistryConfig{TLS: true, User: "me", Password: "pass:word"}},
	}
	schema2, index := busybox(t, harness.ImageConfig{Layers: 3}), twoPlatforms(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, s := t.Context(), overlayTest(t)
			reg := harness.TestRegistry(t, tt.config)
			if err := errors.Join(reg.Push(ctx, "lib/busybox:1", schema2), reg.Push(ctx, "lib/both:1", index)); err != nil {
				t.Fatal(err)
			}
			o := PullOptions{Registry: plain()}
			if tt.config.TLS {
				if _, err := s.Pull(ctx, reg.Ref("lib/busybox:1"), PullOptions{}); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "unknown authority") {
					t.Errorf("without the registry's CA: %v", err)
				}
				certs := t.TempDir()
				writeFile(t, certs, "ca.crt", string(readFile(t, reg.CAFile)))
				o.Registry = Registry{CertDir: certs}
			}
			if tt.config.User != "" {
				bad := o
				bad.Registry.Creds = &Credentials{Username: "me", Password: "wrong"}
				for _, b := range []PullOptions{o, bad} {
					if _, err := s.Pull(ctx, reg.Ref("lib/busybox:1"), b); !errdefs.IsPermissionDenied(err) {
						t.Errorf("with bad credentials: %v", err)
					} else {
						oneLine(t, err)
					}
				}
				o.Registry.Creds = &Credentials{Username: tt.config.User, Password: tt.config.Password}
			}
			im, err := s.Pull(ctx, reg.Ref("lib/busybox:1"), o)
			if err != nil {
				t.Fatal(err)
			}
			if want, err := schema2.ConfigName(); err != nil || im.ID != want.Hex {
				t.Errorf("ID = %s, want %s", im.ID, want.Hex)
			}
			o.Platform = Platform{OS: "linux", Architecture: "arm64"}
			if im, err = s.Pull(ctx, reg.Ref("lib/both:1"), o); err != nil || im.Architecture != "arm64" {
				t.Errorf("Pull for arm64 = %s, %v", im.Architecture, err)
			}
			for _, ref := range []string{"lib/none:1", "lib/busybox:9"} {
				o.Platform = Platform{}
				if _, err := s.Pull(ctx, reg.Ref(ref), o); !errdefs.IsNotFound(err) {
					t.Errorf("Pull of %s = %v", ref, err)
				} else {
					oneLine(t, err)
				}
			}
			noTemp(t, s)
		})
	}
}

func twoPlatforms(t *testing.T) v1.ImageIndex {
	t.Helper()
	idx, err := harness.Index(busybox(t, harness.ImageConfig{Architecture: "amd64"}), busybox(t, harness.ImageConfig{Architecture: "arm64"}))
	if err != nil {
		t.Fatal(err)
	}
	return idx
}

// withImage is an overlay store with one image.
func withImage(t *testing.T) (*Store, Image) {
	t.Helper()
	s, reg := overlayTest(t), faultyRegistry(t)
	push(t, reg.host+"/app:1", testImage(t, "amd64", testLayer(t, map[string]string{"a": "a"}), testLayer(t, map[string]string{"b": "b"})))
	im, err := s.Pull(t.Context(), reg.host+"/app:1", quick())
	if err != nil {
		t.Fatal(err)
	}
	return s, im
}

func TestRootfsLifeCycle(t *testing.T) {
	for _, volatile := range []bool{false, true} {
		t.Run(fmt.Sprint("volatile ", volatile), func(t *testing.T) {
			s, im := withImage(t)
			ctx := t.Context()
			made, err := s.CreateRootfs(ctx, RootfsConfig{ID: "one", Image: im.ID, Name: "web", Volatile: volatile})
			if err != nil || !made.Ours || made.Name != "web" || made.Image != im.ID {
				t.Errorf("CreateRootfs = %+v, %v", made, err)
			}
			if _, err := s.CreateRootfs(ctx, RootfsConfig{ID: "one", Image: im.ID}); !errdefs.IsAlreadyExists(err) {
				t.Errorf("the same ID again: %v", err)
			}
			if _, err := s.CreateRootfs(ctx, RootfsConfig{ID: "two", Image: im.ID, Name: "web"}); err != nil {
				t.Errorf("the same name again: %v", err)
			}
			if _, err := s.CreateRootfs(ctx, RootfsConfig{ID: "three", Image: strings.Repeat("0", 64)}); !errdefs.IsNotFound(err) {
				t.Errorf("of an absent image: %v", err)
			}
			path, err := s.MountRootfs(ctx, "one")
			if err != nil {
				t.Fatal(err)
			}
			again, err := s.MountRootfs(ctx, "one")
			if err != nil || again != path {
				t.Errorf("mounting again = %s, %v; want %s", again, err, path)
			}
			if got := string(readFile(t, path+"/a")) + string(readFile(t, path+"/b")); got != "ab" {
				t.Errorf("files = %q", got)
			}
			writeFile(t, path, "written", "kept")
			// Another process unmounts, however often it was mounted.
			if out, err := child(t, s, "unmount", "one").CombinedOutput(); err != nil {
				t.Fatalf("unmounting in another process: %v\n%s", err, out)
			}
			if _, err := os.Stat(path + "/a"); !os.IsNotExist(err) {
				t.Errorf("still mounted: %v", err)
			}
			if err := s.UnmountRootfs(ctx, "one"); err != nil {
				t.Errorf("unmounting what is not mounted: %v", err)
			}
			// And mounts: here it is unmounted and there.
			if out, err := child(t, s, "mount", "one").CombinedOutput(); err != nil {
				t.Fatalf("mounting in another process: %v\n%s", err, out)
			}
			if got := string(readFile(t, path+"/written")); got != "kept" {
				t.Errorf("written = %q", got)
			}
			list, err := s.RootfsContainers(ctx)
			if err != nil || len(list) != 2 || list[0].ID != "one" || list[0].Name != "web" {
				t.Errorf("RootfsContainers = %+v, %v", list, err)
			}
			for _, id := range []string{"one", "two"} { // one is mounted
				if err := s.DeleteRootfs(ctx, id); err != nil {
					t.Errorf("DeleteRootfs(%s) = %v", id, err)
				}
				if err := s.DeleteRootfs(ctx, id); !errdefs.IsNotFound(err) {
					t.Errorf("DeleteRootfs(%s) again = %v", id, err)
				}
				if err := s.UnmountRootfs(ctx, id); !errdefs.IsNotFound(err) {
					t.Errorf("UnmountRootfs(%s) = %v", id, err)
				}
				if _, err := s.MountRootfs(ctx, id); !errdefs.IsNotFound(err) {
					t.Errorf("MountRootfs(%s) = %v", id, err)
				}
			}
		})
	}
}

// A process that is killed while it makes a rootfs leaves a layer without a
// container.
func TestDeleteHalfMadeRootfs(t *testing.T) {
	s, im := withImage(t)
	if _, err := s.storage().CreateLayer("half", im.TopLayer, nil, "", true, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRootfs(t.Context(), "half"); err != nil {
		t.Errorf("DeleteRootfs = %v", err)
	}
	if err := s.DeleteRootfs(t.Context(), "half"); !errdefs.IsNotFound(err) {
		t.Errorf("DeleteRootfs again = %v", err)
	}
	if err := s.DeleteRootfs(t.Context(), im.TopLayer); err == nil || errdefs.IsNotFound(err) {
		t.Errorf("DeleteRootfs of an image's layer = %v", err)
	}
	if _, err := s.storage().Layer(im.TopLayer); err != nil {
		t.Errorf("the image lost its layer: %v", err)
	}
}

func TestDeleteBusyRootfs(t *testing.T) {
	s, im := withImage(t)
	ctx := t.Context()
	if _, err := s.CreateRootfs(ctx, RootfsConfig{ID: "busy", Image: im.ID}); err != nil {
		t.Fatal(err)
	}
	path, err := s.MountRootfs(ctx, "busy")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path + "/a") // as a process that was not ended
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mount("none", path, "tmpfs", 0, ""); err != nil { // as a mount that was made over it
		t.Fatal(err)
	}
	if err := s.DeleteRootfs(ctx, "busy"); err != nil {
		t.Errorf("DeleteRootfs = %v", err)
	}
}

func TestF47RemoveImageInUse(t *testing.T) {
	s, im := withImage(t)
	ctx := t.Context()
	if _, err := s.CreateRootfs(ctx, RootfsConfig{ID: "user", Image: im.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "app:1", RemoveOptions{}); !inUse("user")(err) {
		t.Errorf("Remove = %v", err)
	}
	if err := s.DeleteRootfs(ctx, "user"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "app:1", RemoveOptions{}); err != nil {
		t.Errorf("Remove = %v", err)
	}
}

func TestTwoProcessesTransferOnce(t *testing.T) {
	s, reg := overlayTest(t), faultyRegistry(t)
	push(t, reg.host+"/once:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"}), testLayer(t, map[string]string{"g": "y"})))
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	reg.set(func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(begun) })
		<-release
		return false
	}, nil)
	var wg sync.WaitGroup
	out, errs := make([]string, 3), make([]error, 3)
	for i := range out {
		wg.Go(func() {
			b, err := child(t, s, "pull", reg.host+"/once:1").CombinedOutput()
			out[i], errs[i] = string(b), err
		})
	}
	<-begun
	time.Sleep(500 * time.Millisecond) // the others get to the lock
	close(release)
	wg.Wait()
	for i := range out {
		if errs[i] != nil || !strings.Contains(out[i], "pulled ") {
			t.Errorf("process %d: %v\n%s", i, errs[i], out[i])
		}
	}
	if n := reg.count("GET /v2/once/"); n != 4 {
		t.Errorf("%d requests, want one manifest and three blobs", n)
	}
	noTemp(t, s)
}

func TestKilledPull(t *testing.T) {
	s, reg := overlayTest(t), faultyRegistry(t)
	im := testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"}), testLayer(t, map[string]string{"g": strings.Repeat("y", 1<<20)}))
	push(t, reg.host+"/k:1", im)
	layers, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	last, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	var once sync.Once
	reg.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, last.String()) || r.Method != http.MethodGet {
			return false
		}
		once.Do(func() { close(begun) })
		<-r.Context().Done()
		return true
	}, nil)
	cmd := child(t, s, "pull", reg.host+"/k:1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-begun
	time.Sleep(300 * time.Millisecond) // the first layer is unpacked
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	old := time.Now().Add(-2 * staleTemp)
	left, err := filepath.Glob(filepath.Join(s.storage().GraphRoot(), "tmp", "*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("left by the killed pull: %v, %v", left, err)
	}
	if err := os.Chtimes(left[0], old, old); err != nil {
		t.Fatal(err)
	}
	reg.set(nil, nil)
	if list, err := s.List(t.Context(), ListOptions{All: true}); err != nil || len(list) > 0 {
		t.Errorf("after the kill: %v, %v", list, err)
	}
	got, err := s.Pull(t.Context(), reg.host+"/k:1", quick())
	if err != nil {
		t.Fatal(err)
	}
	if n := reg.count("GET /v2/k/blobs"); n != 2 {
		t.Errorf("%d blobs transferred, want the config and the last layer: the first one was here", n)
	}
	if _, err := s.CreateRootfs(t.Context(), RootfsConfig{ID: "c", Image: got.ID}); err != nil {
		t.Error(err)
	}
	if err := s.DeleteRootfs(t.Context(), "c"); err != nil {
		t.Error(err)
	}
	noTemp(t, s)
}

func TestFullStore(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	reg := faultyRegistry(t)
	push(t, reg.host+"/big:1", testImage(t, "amd64",
		testLayer(t, map[string]string{"fits": strings.Repeat("1", 5<<19)}), testLayer(t, map[string]string{"zeroes": strings.Repeat("0", 32<<20)})))
	push(t, reg.host+"/small:1", testImage(t, "amd64", testLayer(t, map[string]string{"f": "x"})))
	s := openTest(t, func(c *Config) {
		c.Driver, c.Root, c.RunRoot = "", filepath.Join(dir, "root"), filepath.Join(dir, "run")
	})
	_, err := s.Pull(t.Context(), reg.host+"/big:1", quick())
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("error = %v", err)
	}
	oneLine(t, err)
	noTemp(t, s)
	if _, err := s.Pull(t.Context(), reg.host+"/small:1", quick()); err != nil {
		t.Errorf("after the full store: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail*uint64(st.Bsize) < 4<<20 {
		t.Errorf("%d bytes free, %v: what did not fit, or what came before it, was not freed", st.Bavail*uint64(st.Bsize), err)
	}
}

func TestOverlayOnOverlay(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"l", "u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(dir, "m")
	opts := fmt.Sprintf("lowerdir=%s/l,upperdir=%s/u,workdir=%s/w", dir, dir, dir)
	if err := unix.Mount("overlay", merged, "overlay", 0, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	_, err := Open(t.Context(), Config{Root: filepath.Join(merged, "root"), RunRoot: filepath.Join(dir, "run")})
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "vfs") {
		t.Errorf("error = %v", err)
	}
	oneLine(t, err)
	s, err := Open(t.Context(), Config{Root: filepath.Join(merged, "root"), RunRoot: filepath.Join(dir, "run"), Driver: "vfs"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestStoreOptions(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name                string
		cfg                 Config
		graph, run, driver  string
		skipHome, wantError bool
	}{
		{"own", Config{Root: dir + "/r", RunRoot: dir + "/rr"}, dir + "/r/storage", dir + "/rr/storage", "overlay", true, false},
		{"own, vfs", Config{Root: dir + "/r", RunRoot: dir + "/rr", Driver: "vfs"}, dir + "/r/storage", dir + "/rr/storage", "vfs", false, false},
		{"own without a run root", Config{Root: dir + "/r"}, "", "", "", false, true},
		{"layer store alone", Config{StorageRoot: dir + "/s", StorageRunRoot: dir + "/sr"}, dir + "/s", dir + "/sr", "overlay", true, false},
		{"layer store over own", Config{Root: dir + "/r", RunRoot: dir + "/rr", StorageRoot: dir + "/s", StorageRunRoot: dir + "/sr"}, dir + "/s", dir + "/sr", "overlay", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := storeOptions(tt.cfg)
			if (err != nil) != tt.wantError || tt.wantError && !errdefs.IsInvalidArgument(err) {
				t.Fatalf("error = %v", err)
			}
			if got.GraphRoot != tt.graph || got.RunRoot != tt.run || got.GraphDriverName != tt.driver {
				if !tt.wantError {
					t.Errorf("options = %+v", got)
				}
			}
			if skip := slices.Contains(got.GraphDriverOptions, "overlay.skip_mount_home=true"); skip != tt.skipHome {
				t.Errorf("driver options = %v", got.GraphDriverOptions)
			}
		})
	}
}

// The library reads storage.conf once in a process.
func TestDefaultStoreIsTheHosts(t *testing.T) {
	dir := t.TempDir()
	conf := writeFile(t, dir, "storage.conf", fmt.Sprintf("[storage]\ndriver=\"vfs\"\ngraphroot=%q\nrunroot=%q\n", dir+"/graph", dir+"/run"))
	cmd := child(t, &Store{Roots{&core{}}}, "default", "")
	cmd.Env = append(cmd.Env, "CONTAINERS_STORAGE_CONF="+conf)
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("store %s/graph %s/run vfs\n", dir, dir); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v\n%s\nwant %s", err, out, want)
	}
}

func TestCancelledContext(t *testing.T) {
	s, im := withImage(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.List(ctx, ListOptions{})
	_, err2 := s.Resolve(ctx, im.ID)
	_, err3 := s.Pull(ctx, "x.invalid/y", PullOptions{})
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
	}
}
