//go:build rootful

package criadapter_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestLife tells the life of a server: the parts share one, in their order.
func TestLife(t *testing.T) {
	r := newRig(t, "")
	t.Run("the socket is root's alone", func(t *testing.T) {
		fi, err := os.Stat(r.server.Socket)
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", fi.Mode(), err)
		}
	})
	t.Run("a second one is refused", func(t *testing.T) { secondServer(t, r) })
	t.Run("the network's folder is watched", func(t *testing.T) { networkComesAndGoes(t, r) })
	t.Run("a reload", func(t *testing.T) { reloads(t, r) })
	t.Run("containers outlive it", func(t *testing.T) { outlived(t, r) })
	t.Run("systemd hears of it", func(t *testing.T) { notified(t, r) })
	t.Run("TCP wants certificates", func(t *testing.T) { overTCP(t, r) })
}

func secondServer(t *testing.T, r *rig) {
	res, err := r.davit.Run(t.Context(), "serve-cri")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("another serve-cri (process %d)", r.server.PID())
	if res.Code != 125 || !strings.Contains(res.Stderr, want) {
		t.Errorf("exit code %d, want 125; %q, want %q", res.Code, res.Stderr, want)
	}
	if _, err := r.Version(t.Context(), &runtimeapi.VersionRequest{}); err != nil {
		t.Errorf("the first one is gone: %v", err)
	}
}

// networkReady is the status' condition.
func networkReady(t *testing.T, r *rig) *runtimeapi.RuntimeCondition {
	t.Helper()
	out, err := r.Status(t.Context(), &runtimeapi.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range out.Status.Conditions {
		if c.Type == runtimeapi.NetworkReady {
			return c
		}
	}
	t.Fatal("no such condition")
	return nil
}

func networkComesAndGoes(t *testing.T, r *rig) {
	conf := filepath.Join(r.davit.Roots.Dir, "cni", "10-pods.conflist")
	away := filepath.Join(r.dir, "away")
	wait := func(want bool) {
		t.Helper()
		deadline := time.Now().Add(2 * time.Second)
		for {
			c := networkReady(t, r)
			if c.Status == want {
				if !want && c.Reason != "NetworkPluginNotReady" {
					t.Errorf("reason %q", c.Reason)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the network is ready: %v, want %v", c.Status, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	wait(true)
	if err := os.Rename(conf, away); err != nil {
		t.Fatal(err)
	}
	wait(false)
	pod := r.podConfig("early")
	pod.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_POD
	_, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: pod})
	refused(t, err, codes.Unavailable)
	if err := os.Rename(away, conf); err != nil {
		t.Fatal(err)
	}
	wait(true)
}

// said waits until the server has printed something.
func said(t *testing.T, r *rig, want string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		text, err := os.ReadFile(r.server.LogAt)
		if err == nil && strings.Contains(string(text), want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server has not said %q (%v):\n%s", want, err, text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func reloads(t *testing.T, r *rig) {
	knows := func(handler string) bool {
		_, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: r.podConfig("handled"), RuntimeHandler: handler})
		if err != nil {
			refused(t, err, codes.InvalidArgument)
			return false
		}
		list, err := r.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
		if err != nil || len(list.Items) != 1 || list.Items[0].RuntimeHandler != handler {
			t.Fatalf("%v, %v", list, err)
		}
		r.removeSandbox(t, list.Items[0].Id)
		return true
	}
	if knows("other") || knows("/usr/sbin/runc") {
		t.Error("a runtime is known that nobody configured")
	}
	if err := r.davit.Roots.Configure("[runtimes.other]\npath = \"/usr/sbin/runc\"\n[cri]\nmax_calls = 100\n"); err != nil {
		t.Fatal(err)
	}
	hup := func() {
		if err := syscall.Kill(r.server.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hup()
	said(t, r, "now in effect: runtimes.other.path")
	said(t, r, "; after a restart: cri.max_calls\n")
	if !knows("other") {
		t.Error("the new runtime is not known")
	}
	if err := r.davit.Roots.Configure("[nonsense]\nx = 1\n"); err != nil {
		t.Fatal(err)
	}
	hup()
	said(t, r, "the configuration stays as it was")
	if !knows("other") {
		t.Error("the runtime is gone")
	}
	text, err := os.ReadFile(r.davit.Roots.Config)
	if err == nil {
		err = os.WriteFile(r.davit.Roots.Config, []byte(strings.Replace(string(text), "[nonsense]\nx = 1\n", "", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// outlived kills the server: containers go on, and what ends meanwhile has ended
// with its own code.
func outlived(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("lives"))
	stays := r.run(t, pod, r.containerConfig("stays", "sleep 1000"))
	ends := r.run(t, pod, r.containerConfig("ends", "sleep 0.3; exit 7"))
	began := r.status(t, stays).StartedAt
	if err := r.server.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(700 * time.Millisecond)
	start := time.Now()
	r.restart(t)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("ready after %s", took)
	}
	if s := r.status(t, stays); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING || s.StartedAt != began {
		t.Errorf("the container has not gone on: %v", s)
	}
	if s := r.ended(t, ends); s.ExitCode != 7 || s.FinishedAt >= start.UnixNano() {
		t.Errorf("exit code %d, finished at %s of a server that came at %s", s.ExitCode, time.Unix(0, s.FinishedAt), start)
	}
	if err := r.server.Stop(); err != nil { // and one that is told to end leaves them, too
		t.Error(err)
	}
	if _, err := os.Stat(r.server.Socket); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
	r.restart(t)
	if s := r.status(t, stays); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container has not gone on: %v", s)
	}
}

// own starts a server with more in its environment, in the place of the rig's,
// until the test ends or has told it to end.
func own(t *testing.T, r *rig, environ []string, args ...string) (cmd *exec.Cmd, end func()) {
	t.Helper()
	if err := r.server.Stop(); err != nil {
		t.Fatal(err)
	}
	cmd = r.davit.Command(context.WithoutCancel(t.Context()), append([]string{"serve-cri"}, args...)...)
	cmd.Env = append(cmd.Env, environ...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // a second one would cut it off
	t.Cleanup(func() {
		end()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server has ended with: %v", err)
		}
		r.start(t)
		r.conn.ResetConnectBackoff()
	})
	return cmd, end
}

func notified(t *testing.T, r *rig) {
	path := filepath.Join(r.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	hears := func(want string) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		for {
			buf := make([]byte, 1024)
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("systemd has not heard %q: %v", want, err)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	cmd, end := own(t, r, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=400000"})
	hears("READY=1")
	hears("WATCHDOG=1")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hears("RELOADING=1\nMONOTONIC_USEC=")
	hears("READY=1")
	end()
	hears("STOPPING=1")
}

func overTCP(t *testing.T, r *rig) {
	res, err := r.davit.Run(t.Context(), "serve-cri", "--listen", "tcp://127.0.0.1:0")
	if err != nil || res.Code != 125 {
		t.Errorf("a server without a certificate: %d, %v", res.Code, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	files := map[string]string{}
	for name, text := range map[string][]byte{"cert": ca.cert, "key": ca.key} {
		files[name] = filepath.Join(r.dir, name+".pem")
		if err := os.WriteFile(files[name], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own(t, r, []string{"DAVIT_CRI_TLS_CERT=" + files["cert"], "DAVIT_CRI_TLS_KEY=" + files["key"], "DAVIT_CRI_CLIENT_CA=" + files["cert"]},
		"--listen", "tcp://"+addr)
	pair, err := tls.X509KeyPair(ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.cert)
	call := func(c *tls.Config) error {
		c.RootCAs, c.ServerName = pool, "davit.test"
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(c)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = runtimeapi.NewRuntimeServiceClient(conn).Version(ctx, &runtimeapi.VersionRequest{}, grpc.WaitForReady(len(c.Certificates) > 0))
		return err
	}
	if err := call(&tls.Config{Certificates: []tls.Certificate{pair}}); err != nil {
		t.Errorf("a client with a certificate: %v", err)
	}
	refused(t, call(&tls.Config{}), codes.Unavailable)
}

// authority is a certificate that signs itself, for both sides.
type authority struct{ cert, key []byte }

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "davit"}, DNSNames: []string{"davit.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes}),
	}
}
