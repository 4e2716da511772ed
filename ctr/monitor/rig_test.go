//go:build rootful

package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/ctr/monitor"
	"github.com/davit-containers/davit/ctr/oci"
)

// rig makes containers of the host's static busybox, with a real monitor and a
// real runtime, and cleans up after them.
type rig struct {
	t      *testing.T
	rt     oci.Runtime
	dir    string
	rootfs string
	n      int
}

// runtimes runs a test with each runtime that is installed.
func runtimes(t *testing.T, f func(t *testing.T, r *rig)) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skip("not installed")
			}
			f(t, newRig(t, name, path))
		})
	}
}

func newRig(t *testing.T, name, path string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	r := &rig{t: t, dir: dir, rootfs: filepath.Join(dir, "rootfs"),
		rt: oci.Runtime{Name: name, Path: path, Root: filepath.Join(dir, "rt")}}
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(r.rootfs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("no static busybox")
	}
	if err := harness.WriteExecutable(filepath.Join(r.rootfs, "bin/busybox"), string(data)); err != nil {
		t.Fatal(err)
	}
	for _, a := range strings.Fields("sh echo sleep cat true stty dd yes head tail wc ps seq setsid id tr") {
		if err := os.Symlink("busybox", filepath.Join(r.rootfs, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// spec is a small container without a network namespace of its own.
func (r *rig) spec(args ...string) *specs.Spec {
	caps := []string{"CAP_KILL", "CAP_SETUID", "CAP_SETGID"}
	r.n++
	return &specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin", "TERM=xterm"}, NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Root:     &specs.Root{Path: r.rootfs},
		Hostname: "rig",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: fmt.Sprintf("/davit-test-monitor/%d-%d-%d", os.Getpid(), time.Now().UnixNano(), r.n),
			Resources:   &specs.LinuxResources{},
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}},
		},
	}
}

// container is a created one.
type container struct {
	*rig
	cfg     monitor.Config
	started monitor.Started
}

// create makes a container; change may alter the monitor's configuration.
func (r *rig) create(s *specs.Spec, change func(*monitor.Config)) *container {
	r.t.Helper()
	c, err := r.tryCreate(s, change)
	if err != nil {
		r.t.Fatalf("Create: %v", err)
	}
	return c
}

func (r *rig) config(s *specs.Spec) monitor.Config {
	r.t.Helper()
	id := fmt.Sprintf("mt%d-%d", os.Getpid(), r.n)
	bundle := filepath.Join(r.dir, id)
	for _, d := range []string{bundle, filepath.Join(bundle, "persist"), filepath.Join(r.dir, "exits")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			r.t.Fatal(err)
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return monitor.Config{
		ID: id, Name: id,
		Runtime: monitor.Runtime{Path: r.rt.Path, Args: r.rt.GlobalArgs(),
			Failure: func(raw string) error { return r.rt.ParseError("create", raw) }},
		Paths: monitor.Paths{Bundle: bundle, PersistDir: filepath.Join(bundle, "persist"),
			ExitDir: filepath.Join(r.dir, "exits"), Log: filepath.Join(bundle, "log")},
		Streams: monitor.Streams{Terminal: s.Process.Terminal},
	}
}

func (r *rig) tryCreate(s *specs.Spec, change func(*monitor.Config)) (*container, error) {
	r.t.Helper()
	cfg := r.config(s)
	if change != nil {
		change(&cfg)
	}
	ctx := r.ctx(30 * time.Second)
	starting, err := monitor.Fork(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c := &container{rig: r, cfg: cfg}
	r.t.Cleanup(func() { c.clean(s.Linux.CgroupsPath) })
	if c.started, err = starting.Create(ctx); err != nil {
		return nil, errors.Join(err, starting.Abort())
	}
	return c, nil
}

func (r *rig) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	r.t.Cleanup(cancel)
	return ctx
}

func (c *container) start() {
	c.t.Helper()
	if err := c.rt.Start(c.ctx(20*time.Second), c.cfg.ID); err != nil {
		c.t.Fatalf("Start: %v", err)
	}
}

func (c *container) attach() *monitor.Attachment {
	c.t.Helper()
	a, err := monitor.Connect(c.ctx(10*time.Second), monitor.SocketPath(c.cfg.Paths.Bundle))
	if err != nil {
		c.t.Fatalf("Connect: %v", err)
	}
	c.t.Cleanup(func() { _ = a.Close() })
	return a
}

func (c *container) waitConfig() monitor.WaitConfig {
	return monitor.WaitConfig{PersistDir: c.cfg.Paths.PersistDir, Monitor: c.started.Monitor}
}

func (c *container) wait() monitor.Exit {
	c.t.Helper()
	e, err := monitor.Wait(c.ctx(20*time.Second), c.waitConfig())
	if err != nil {
		c.t.Fatalf("Wait: %v", err)
	}
	return e
}

// clean ends whatever is left of the container.
func (c *container) clean(cgroup string) {
	ctx := context.WithoutCancel(c.t.Context())
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := c.rt.Delete(ctx, c.cfg.ID, true); err != nil && !errdefs.IsNotFound(err) {
		c.t.Errorf("Delete: %v", err)
	}
	_ = monitor.AwaitGone(ctx, c.started.Process)
	ended, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	if monitor.AwaitGone(ended, c.started.Monitor) != nil {
		_ = monitor.Signal(c.started.Monitor, 9)
		_ = monitor.AwaitGone(ctx, c.started.Monitor)
	}
	mounts, _ := filepath.Glob("/sys/fs/cgroup/*" + filepath.Dir(cgroup))
	for _, m := range mounts {
		_ = os.Remove(filepath.Join(m, filepath.Base(cgroup)))
		_ = os.Remove(m)
	}
}

// newNamed is the rig of one runtime, for what does not depend on which.
func newNamed(t *testing.T, name string) *rig {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("not installed")
	}
	return newRig(t, name, path)
}
