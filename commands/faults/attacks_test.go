//go:build faults || faultslong

package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// pulled pushes an image of busybox with these files, and has the server pull it.
func (s *server) pulled(tag string, files ...harness.File) string {
	t := s.n.t
	t.Helper()
	image, err := harness.Busybox(t.Context(), harness.ImageConfig{Files: files})
	if err == nil {
		err = s.n.registry.Push(t.Context(), tag, image)
	}
	if err == nil {
		_, err = s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: s.n.registry.Ref(tag)}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.n.registry.Ref(tag)
}

// attempt creates and starts a container, and says what came of it.
func (s *server) attempt(pod string, c *runtimeapi.ContainerConfig) (id string, err error) {
	ctx := s.n.t.Context()
	out, err := s.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
	if err != nil {
		return "", err
	}
	_, err = s.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: out.ContainerId})
	return out.ContainerId, err
}

// look describes what a hostile image is after: a folder of the host, and its devices.
func look(t *testing.T, canary string) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{canary, filepath.Join(canary, "file"), "/dev", "/dev/null", "/dev/pts", "/dev/zero", "/dev/ptmx"} {
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		fmt.Fprintf(&b, "%s %o %d:%d %d %x %v\n", path, st.Mode, st.Uid, st.Gid, st.Ino, st.Rdev, err)
	}
	names, err := os.ReadDir(canary)
	text, rerr := os.ReadFile(filepath.Join(canary, "file"))
	fmt.Fprintf(&b, "%v %v %q %v", names, err, text, rerr)
	return b.String()
}

// An image has links where devices come: whatever becomes of its containers, the host
// is as it was.
func TestS3DevicesAreLinks(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	canary := filepath.Join(n.Roots.Dir, "canary")
	err := os.Mkdir(canary, 0o711)
	if err == nil {
		err = os.WriteFile(filepath.Join(canary, "file"), []byte("untouched"), 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := look(t, canary)
	up := strings.Repeat("../", 20)
	pod := s.sandbox(s.podConfig("links"))
	for i, f := range []harness.File{
		{Path: "/dev", Link: canary}, {Path: "/dev", Link: up + canary}, {Path: "/dev", Link: "/proc/1/root" + canary},
		{Path: "/dev/null", Link: filepath.Join(canary, "file")}, {Path: "/dev/null", Link: up + filepath.Join(canary, "file")},
		{Path: "/dev/pts", Link: canary}, {Path: "/dev/shm", Link: canary}, {Path: "/dev/ptmx", Link: filepath.Join(canary, "new")},
		{Path: "/dev/console", Link: filepath.Join(canary, "file")},
	} {
		for _, tty := range []bool{false, true} {
			c := s.containerConfig(fmt.Sprintf("c%d-%t", i, tty), "echo x >/dev/null; echo y >/dev/pts/new; echo z >/dev/shm/new; touch /dev/made; chmod 777 /dev/null; exit 0")
			c.Image.Image, c.Tty = s.pulled(fmt.Sprintf("links:%d", i), f), tty
			id, err := s.attempt(pod, c)
			if err == nil {
				n.eventually("the container ends", func() bool { return s.status(id).State == runtimeapi.ContainerState_CONTAINER_EXITED })
			}
			if after := look(t, canary); after != before {
				t.Fatalf("%s → %s: the host was\n%s\nand is\n%s", f.Path, f.Link, before, after)
			}
		}
	}
	s.remove(pod)
	n.check()
}

// A mount over /proc is refused, and so is an image in which /proc or /sys leads
// elsewhere.
func TestS4ProcIsCovered(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	dir := filepath.Join(n.Roots.Dir, "cover")
	if err := os.MkdirAll(filepath.Join(dir, "self", "attr"), 0o755); err != nil {
		t.Fatal(err)
	}
	pod := s.sandbox(s.podConfig("covers"))
	for i, at := range []string{"/proc", "/proc/", "/proc/self", "/proc/sys", "//proc/./self/attr", "/tmp/../proc", "/proc/self/../self"} {
		c := s.containerConfig(fmt.Sprintf("mount%d", i), "exit 0")
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: at, HostPath: dir}}
		if _, err := s.attempt(pod, c); err == nil {
			t.Errorf("a mount at %s is not refused", at)
		}
	}
	to := s.pulled("toproc:1", harness.File{Path: "/aside", Link: "/proc"})
	c := s.containerConfig("aside", "exit 0")
	c.Image.Image, c.Mounts = to, []*runtimeapi.Mount{{ContainerPath: "/aside/self", HostPath: dir}}
	if _, err := s.attempt(pod, c); err == nil {
		t.Error("a mount by way of a link to /proc is not refused")
	}
	for i, f := range []harness.File{{Path: "/proc", Link: "/tmp"}, {Path: "/proc", Link: "../../../tmp"}, {Path: "/sys", Link: "/tmp"}, {Path: "/sys", Link: "/proc"}} {
		c := s.containerConfig(fmt.Sprintf("link%d", i), "exit 0")
		c.Image.Image = s.pulled(fmt.Sprintf("proclink:%d", i), f)
		if _, err := s.attempt(pod, c); err == nil {
			t.Errorf("an image in which %s leads to %s is not refused", f.Path, f.Link)
		}
	}
	s.remove(pod)
	n.check()
}

// streamsDropped attaches to a container with a terminal so often, resizes it, sends
// garbage, and is gone: the server is left with what it had.
func streamsDropped(t *testing.T, times int) {
	dir, err := os.MkdirTemp("", "davit-streams-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "m.sock")
	n := newNode(t, metricsAt(socket))
	s := n.serve()
	pod := s.sandbox(s.podConfig("attached"))
	// Garbage may be a frame with an interrupt or an end of file in it by chance.
	c := s.containerConfig("c", "stty raw -echo && exec cat")
	c.Stdin, c.Tty = true, true
	id := s.container(pod, c)
	drop := func(i int) error {
		out, err := s.Attach(t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdin: true, Stdout: true, Tty: true})
		if err != nil {
			return err
		}
		return dropped(t.Context(), out.Url, i)
	}
	for i := range 6 {
		if err := drop(i); err != nil {
			t.Fatal(err)
		}
	}
	first := s.figures(socket)
	var g errgroup.Group
	g.SetLimit(16)
	for i := range times {
		g.Go(func() error { return drop(i) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var last figures
	n.eventually("goroutines and descriptors are back at their base", func() bool {
		last = s.figures(socket)
		return last.goroutines <= first.goroutines+2 && last.fds <= first.fds+2
	})
	t.Logf("%d streams: goroutines %d → %d, descriptors %d → %d", times, first.goroutines, last.goroutines, first.fds, last.fds)
	if got := s.status(id); got.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container is %s", got.State)
	}
	s.remove(pod)
	n.check()
}

// dropped connects to a stream by WebSocket or SPDY, says something of its protocol or
// nothing of the kind, and closes the connection.
func dropped(ctx context.Context, address string, i int) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	upgrade := "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\nOrigin: http://" + u.Host
	method := "GET"
	if i%3 == 2 {
		upgrade, method = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io", "POST"
	}
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n%s\r\n\r\n", method, u.RequestURI(), u.Host, upgrade); err != nil {
		return err
	}
	answer := make([]byte, 512)
	k, err := conn.Read(answer)
	if err != nil || !bytes.Contains(answer[:k], []byte(" 101 ")) {
		return fmt.Errorf("the stream's server answers %q: %v", answer[:k], err)
	}
	switch i % 3 {
	case 0: // a window's size, on the channel for it
		size := []byte("\x04" + fmt.Sprintf(`{"Width":%d,"Height":%d}`, 20+i%100, 10+i%50))
		_, err = conn.Write(append([]byte{0x82, 0x80 | byte(len(size)), 0, 0, 0, 0}, size...))
	default:
		_, err = io.CopyN(conn, rand.Reader, int64(1+i%4000))
	}
	return ignoreReset(err)
}

// ignoreReset leaves out that the server has hung up over what it was sent.
func ignoreReset(err error) error {
	if err != nil && containsAny(err.Error(), "reset by peer|broken pipe") {
		return nil
	}
	return err
}

// Many containers are made at once, each with an environment and a secret of its own,
// and none sees another's.
func TestS27NoMixing(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	const pods, each = 10, 10
	var g errgroup.Group
	ids := make([]string, pods)
	for p := range pods {
		ids[p] = s.sandbox(s.podConfig(fmt.Sprint("mixed", p)))
	}
	logs := make([]string, pods*each)
	for i := range logs {
		secret := filepath.Join(n.Roots.Dir, fmt.Sprint("secret", i))
		if err := os.WriteFile(secret, fmt.Appendf(nil, "secret-%d", i), 0o400); err != nil {
			t.Fatal(err)
		}
		c := s.containerConfig(fmt.Sprint("c", i), `echo "$WHO $(cat /secret) $(hostname) $(env | grep -c ^OWN_) $OWN_`+fmt.Sprint(i)+`"`)
		c.Envs = []*runtimeapi.KeyValue{{Key: "WHO", Value: fmt.Append(nil, "who-", i)}, {Key: fmt.Sprint("OWN_", i), Value: fmt.Append(nil, "own-", i)}}
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/secret", HostPath: secret, Readonly: true}}
		logs[i] = filepath.Join(s.podConfig(fmt.Sprint("mixed", i%pods)).LogDirectory, c.LogPath)
		g.Go(func() error {
			id, err := s.attempt(ids[i%pods], c)
			if err != nil {
				return fmt.Errorf("container %d: %w", i, err)
			}
			for s.status(id).State != runtimeapi.ContainerState_CONTAINER_EXITED {
				time.Sleep(50 * time.Millisecond)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	for i, path := range logs {
		want := fmt.Sprintf("who-%d secret-%d %s 1 own-%d", i, i, host, i)
		err := logged(path, func(line []byte) error {
			if string(line) != want {
				return fmt.Errorf("%q, want %q", line, want)
			}
			return nil
		})
		if err != nil {
			t.Errorf("container %d: %v", i, err)
		}
	}
	for _, id := range ids {
		s.remove(id)
	}
	n.check()
}

// A policy that says no, that wants signatures, or that cannot be read has images
// refused when they are pulled, and when containers are made of them.
func TestS28Policy(t *testing.T) {
	n := newNode(t, "")
	accept, err := os.ReadFile(n.Roots.Policy)
	if err != nil {
		t.Fatal(err)
	}
	policy := func(text string) {
		t.Helper()
		if err := os.WriteFile(n.Roots.Policy, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := n.serve()
	ref := s.pulled("signed:1")
	pod := s.sandbox(s.podConfig("policy"))
	made := 0
	try := func(image string) error {
		made++
		c := s.containerConfig(fmt.Sprint("c", made), "exit 0")
		c.Image.Image = image
		_, err := s.attempt(pod, c)
		return err
	}
	pull := func() error {
		_, err := s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
		return err
	}
	image, err := s.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"reject":    `{"default":[{"type":"reject"}]}`,
		"signedBy":  `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/nonexistent/key.gpg"}]}`,
		"malformed": `{"default":[{"type":`,
		"unknown":   `{"default":[{"type":"acceptAll"}]}`,
	} {
		policy(text)
		if err := pull(); err == nil {
			t.Errorf("%s: the pull is not refused", name)
		}
		for what, r := range map[string]string{"tag": ref, "ID": image.Image.Id, "digest": image.Image.RepoDigests[0]} {
			if err := try(r); err == nil {
				t.Errorf("%s: a container by its image's %s is not refused", name, what)
			} else if c := status.Code(err); name == "reject" && c != codes.PermissionDenied && c != codes.FailedPrecondition && c != codes.Unknown {
				t.Errorf("%s: refused as %s: %v", name, c, err)
			}
		}
	}
	policy(string(accept))
	if err := pull(); err != nil {
		t.Errorf("pulled again: %v", err)
	}
	if err := try(ref); err != nil {
		t.Errorf("accepted again: %v", err)
	}
	// The tag leads elsewhere now: what was pulled is what its containers are of.
	policy(fmt.Sprintf(`{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"insecureAcceptAnything"}]}}}`, ref))
	n.must("tag", n.image, n.registry.Ref("moved:1"))
	if err := try(n.registry.Ref("moved:1")); err == nil {
		t.Error("an image by a tag that the policy rejects is not refused")
	}
	if err := try(ref); err != nil {
		t.Errorf("the accepted tag: %v", err)
	}
	policy(string(accept))
	s.remove(pod)
	n.check()
}

// Containers make processes, open files, fill shared memory and their log without end:
// their neighbours and the server answer all the while.
func TestS30Bombs(t *testing.T) {
	n := newNode(t, "")
	pids := n.newCgroup("pids")
	pids.set("pids.max", "64")
	s := n.serve()
	quiet := s.sandbox(s.podConfig("quiet"))
	neighbour := s.container(quiet, s.containerConfig("neighbour", counting))
	lives := longLived{id: neighbour, log: s.status(neighbour).LogPath}
	st := &storm{server: s}
	server := s.PID()
	for name, script := range map[string]string{
		"forks":       "b() { b | b & }; b; sleep 1000",
		"shm":         "dd if=/dev/zero of=/dev/shm/x bs=1M count=10000; sleep 1000",
		"descriptors": "ulimit -n 1024; i=0; while :; do sh -c 'exec 3</etc/passwd 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3; sleep 1000' & i=$((i+1)); [ $i -gt 50 ] && break; done; sleep 1000",
		"log":         "yes",
	} {
		t.Run(name, func(t *testing.T) {
			c := s.podConfig("bomb-" + name)
			c.Linux.CgroupParent = "/" + filepath.Base(pids.dir)
			pod := s.sandbox(c)
			k := s.containerConfig("bomb", script)
			k.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 128 << 20, CpuQuota: 20000, CpuPeriod: 100000}}
			id := s.container(pod, k)
			for range 5 {
				x, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: neighbour, Cmd: []string{"echo", "here"}, Timeout: 30})
				if err != nil || string(x.Stdout) != "here\n" {
					t.Errorf("an exec beside it: %v, %v", x, err)
				}
				was := len(st.numbers(&lives))
				n.eventually("the neighbour goes on", func() bool { return len(st.numbers(&lives)) > was+1 })
			}
			if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
				t.Error(err)
			}
			s.remove(pod)
		})
	}
	if s.PID() != server || !alive(fmt.Sprint(server)) {
		t.Error("the server is another one")
	}
	st.unbroken(&lives)
	s.remove(quiet)
	n.check()
}
