package cri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// davit is serve-cri on roots of its own.
type davit struct {
	bin, dir, with, registry string
	subnet                   int

	roots  harness.Roots
	server *harness.CRIServer
}

func (d *davit) about() about {
	return about{name: "davit, " + d.with, runtime: d.with, folder: filepath.Join(d.dir, "davit-"+d.with)}
}

func (d *davit) start(ctx context.Context) (string, error) {
	if _, err := exec.LookPath(d.with); err != nil {
		return "", fmt.Errorf("%s: %w", d.with, ErrAbsent)
	}
	dir := d.about().folder
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
	}
	var err error
	if d.roots, err = harness.NewRootsWithRun(dir, RunFolder(dir)); err != nil {
		return "", err
	}
	err = errors.Join(d.roots.TrustRegistry(d.registry), d.roots.AddPodNetwork(d.subnet),
		d.roots.Configure(fmt.Sprintf("[engine]\nruntime = %q\n", d.with)))
	if err != nil {
		return "", err
	}
	d.server, err = harness.StartCRI(ctx, harness.Davit{Bin: d.bin, Roots: d.roots}, filepath.Join(d.dir, "davit-"+d.with+".log"))
	if err != nil {
		return "", err
	}
	return d.server.Socket, nil
}

func (d *davit) pid() int { return d.server.PID() }

func (d *davit) stop(ctx context.Context) error {
	if d.server == nil {
		return nil
	}
	err := d.server.Stop()
	_, _ = harness.Davit{Bin: d.bin, Roots: d.roots}.Run(ctx, "pod", "rm", "-f", "-a", "-t", "0") // of a run that failed
	return errors.Join(err, d.roots.RemoveNetwork(ctx), d.roots.Remove())
}

// RunFolder is where an engine whose folder is dir keeps what a restart of the
// machine may take: in memory, as on any distribution.
func RunFolder(dir string) string { return filepath.Join("/run/davit-bench", filepath.Base(dir)) }

// Containerd is the distribution's containerd, on folders of its own in Dir,
// with networks for the CRI.
type Containerd struct {
	Dir, Registry string

	process *exec.Cmd
	ended   chan error
}

// Folder is where all of it is.
func (c *Containerd) Folder() string { return filepath.Join(c.Dir, "containerd") }

// Socket is where it listens.
func (c *Containerd) Socket() string { return filepath.Join(c.Folder(), "containerd.sock") }

// Start starts it and waits until it listens. ErrAbsent is wrapped where it is
// not installed. Stop ends it, after an error too.
func (c *Containerd) Start(ctx context.Context) error {
	if _, err := exec.LookPath("containerd"); err != nil {
		return fmt.Errorf("%w (make bench-deps installs it)", ErrAbsent)
	}
	dir := c.Folder()
	config, networks := filepath.Join(dir, "config.toml"), filepath.Join(dir, "cni")
	if err := os.MkdirAll(networks, 0o711); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	// It may not lower oom_score_adj where CAP_SYS_RESOURCE is missing.
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %q
`, filepath.Join(dir, "root"), RunFolder(dir), c.Socket(), c.Registry+"/"+pauseImage, networks)
	network := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "ctd0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.95.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
]}`, filepath.Join(dir, "leases"))
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(filepath.Join(networks, "10-pods.conflist"), []byte(network), 0o644)); err != nil {
		return fmt.Errorf("configuring containerd: %w", err)
	}
	log, err := os.Create(filepath.Join(c.Dir, "containerd.log"))
	if err != nil {
		return fmt.Errorf("starting containerd: %w", err)
	}
	defer log.Close()
	c.process = exec.CommandContext(context.WithoutCancel(ctx), "containerd", "--config", config)
	c.process.Stdout, c.process.Stderr = log, log
	if err := c.process.Start(); err != nil {
		return fmt.Errorf("starting containerd: %w", err)
	}
	c.ended = make(chan error, 1)
	go func() { c.ended <- c.process.Wait() }()
	return c.await(ctx)
}

func (c *Containerd) await(ctx context.Context) error {
	for range 500 {
		conn, err := net.Dial("unix", c.Socket())
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-c.ended:
			return fmt.Errorf("starting containerd: it ended at once: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("starting containerd: it does not listen")
}

// Stop ends it and removes its folders; shims of containers that still run stay.
func (c *Containerd) Stop(ctx context.Context) error {
	if c.process == nil {
		return nil
	}
	_ = c.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second):
		_ = c.process.Process.Kill()
		<-c.ended
	}
	_ = exec.CommandContext(ctx, "ip", "link", "delete", "ctd0").Run() // absent where no pod was made
	return harness.RemoveTree(c.Folder())
}

// containerdServer is Containerd as a CRI server.
type containerdServer struct{ Containerd }

func (c *containerdServer) about() about {
	return about{name: "containerd, runc", runtime: "runc", folder: c.Folder()}
}

func (c *containerdServer) start(ctx context.Context) (string, error) {
	return c.Socket(), c.Start(ctx)
}

func (c *containerdServer) pid() int { return c.process.Process.Pid }

func (c *containerdServer) stop(ctx context.Context) error { return c.Stop(ctx) }
