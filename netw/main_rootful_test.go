//go:build rootful

package netw

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-containers/davit/netw/netns"
	"golang.org/x/sys/unix"
)

// pluginDir holds the distribution's plugins.
const pluginDir = "/usr/lib/cni"

// TestMain runs the tests in a network and mount namespace of their own, so that
// nothing they do, or leave behind when they fail, is seen by the machine.
func TestMain(m *testing.M) {
	if os.Getenv("NETW_TEST_INSIDE") == "" {
		os.Exit(inside())
	}
	for _, args := range [][]string{{"ip", "link", "set", "lo", "up"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %v %s\n", args, err, out)
			os.Exit(1)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// inside runs the test binary again, in namespaces of its own.
func inside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "NETW_TEST_INSIDE=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// world is one davit on roots of its own.
type world struct {
	*Attacher
	t    testing.TB
	runs string
}

// newWorld makes an Attacher; at the end of the test everything is torn down
// and the machine must look as before.
func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	dir := t.TempDir()
	before := snapshot(t, dir)
	c := Config{
		Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), PluginDirs: []string{pluginDir},
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	for _, f := range change {
		f(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Attacher: a, t: t, runs: filepath.Join(dir, "pods")}
	if err := os.MkdirAll(w.runs, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Teardown(cleanupContext(t)); err != nil {
			t.Errorf("teardown: %v", err)
		}
		w.leakCheck(before)
	})
	return w
}

// leakCheck compares with the state before; interfaces of dead namespaces go in
// the background, so they get a moment.
func (w *world) leakCheck(before string) {
	w.t.Helper()
	var after string
	for range 100 {
		if after = snapshot(w.t, filepath.Dir(w.runs)); after == before {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if after != before {
		w.t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
	for _, dir := range []string{"attached", "ipam/" + Builtin, "cache/results"} {
		entries, _ := os.ReadDir(w.dir(dir))
		for _, e := range entries {
			if e.Name() != "lock" && !strings.HasPrefix(e.Name(), "last_reserved_ip") {
				w.t.Errorf("left behind: %s/%s", dir, e.Name())
			}
		}
	}
}

// snapshot is what the machine shows: links, nft rules, namespaces pinned in dir.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{{"ip", "-o", "link"}, {"nft", "list", "ruleset"}} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, fakeBridge) { // a plugin leaves its bridge
				b.WriteString(line)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(mounts), "\n") {
		if strings.Contains(line, " - nsfs ") && strings.Contains(line, dir) {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// sandbox is a pod's network part.
type sandbox struct {
	w    *world
	id   string
	dir  string
	pins netns.Pinned
}

// sandbox makes a sandbox with pinned namespaces, removed at the end.
func (w *world) sandbox(id string) *sandbox {
	w.t.Helper()
	s := &sandbox{w: w, id: id, dir: filepath.Join(w.runs, id)}
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		w.t.Fatal(err)
	}
	var err error
	s.pins, err = netns.Create(w.t.Context(), netns.Config{Dir: s.pinDir(), Net: true, UTS: true, Hostname: id})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := netns.Remove(s.pinDir()); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

func (s *sandbox) pinDir() string { return filepath.Join(s.dir, "ns") }

// request is a request for this sandbox.
func (s *sandbox) request(ports ...string) Request {
	s.w.t.Helper()
	r := Request{ID: s.id, Name: "pod-" + s.id, Netns: s.pins.Net, Dir: s.dir}
	for _, p := range ports {
		parsed, err := ParsePort(p)
		if err != nil {
			s.w.t.Fatal(err)
		}
		r.Ports = append(r.Ports, parsed...)
	}
	return r
}

// attach attaches, or fails the test; it detaches at the end.
func (s *sandbox) attach(r Request) Attachment {
	s.w.t.Helper()
	got, err := s.w.Attach(s.w.t.Context(), r)
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.w.t.Cleanup(func() { s.detach() })
	return got
}

// detach detaches as pods do it: pins go on the way.
func (s *sandbox) detach() {
	s.w.t.Helper()
	if err := s.w.Detach(cleanupContext(s.w.t), Request{ID: s.id, Dir: s.dir, PinDir: s.pinDir()}); err != nil {
		s.w.t.Error(err)
	}
}

// serve answers every TCP connection in the sandbox with the peer's address.
func (s *sandbox) serve(address string) {
	s.w.t.Helper()
	var l net.Listener
	err := netns.Do(s.pins.Net, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", s.id, c.RemoteAddr())
			c.Close()
		}
	}()
}

// serveUDP answers every packet in the sandbox.
func (s *sandbox) serveUDP(address string) {
	s.w.t.Helper()
	var l net.PacketConn
	err := netns.Do(s.pins.Net, func() (err error) {
		l, err = net.ListenPacket("udp", address)
		return err
	})
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.w.t.Cleanup(func() { l.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			_, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = l.WriteTo([]byte(s.id+" "+from.String()), from)
		}
	}()
}

// ask connects from the host and returns the answer.
func ask(network, address string) (string, error) {
	c, err := net.DialTimeout(network, address, 500*time.Millisecond)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(deadline())
	if network[:3] == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
		buf := make([]byte, 1500)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// ask connects from inside the sandbox.
func (s *sandbox) ask(network, address string) (answer string, err error) {
	err = netns.Do(s.pins.Net, func() error {
		answer, err = ask(network, address)
		return err
	})
	return answer, err
}

// deadline is how long a test waits for an answer.
func deadline() time.Time { return time.Now().Add(500 * time.Millisecond) }

// ip is the sandbox's first address of a family.
func ip(t testing.TB, a Attachment, six bool) netip.Addr {
	t.Helper()
	for _, addr := range a.IPs() {
		if addr.Is6() == six {
			return addr
		}
	}
	t.Fatalf("no such address in %v", a)
	return netip.Addr{}
}

// testWriter logs lines to the test.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
