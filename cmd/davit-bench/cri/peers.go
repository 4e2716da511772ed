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
	bin, dir, runtime, registry string
	subnet                      int

	roots  harness.Roots
	server *harness.CRIServer
}

func (d *davit) name() string { return "davit, " + d.runtime }

func (d *davit) start(ctx context.Context) (string, error) {
	if _, err := exec.LookPath(d.runtime); err != nil {
		return "", fmt.Errorf("%s: %w", d.runtime, errAbsent)
	}
	dir := filepath.Join(d.dir, "davit-"+d.runtime)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
	}
	var err error
	if d.roots, err = harness.NewRoots(dir); err != nil {
		return "", err
	}
	err = errors.Join(d.roots.TrustRegistry(d.registry), d.roots.AddPodNetwork(d.subnet),
		d.roots.Configure(fmt.Sprintf("[engine]\nruntime = %q\n", d.runtime)))
	if err != nil {
		return "", err
	}
	d.server, err = harness.StartCRI(ctx, harness.Davit{Bin: d.bin, Roots: d.roots}, filepath.Join(d.dir, "davit-"+d.runtime+".log"))
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

// containerd is the distribution's, on folders of its own.
type containerd struct {
	dir, registry string

	process *exec.Cmd
	ended   chan error
}

func (c *containerd) name() string { return "containerd, runc" }

func (c *containerd) start(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("containerd"); err != nil {
		return "", fmt.Errorf("%w (make bench-deps installs it)", errAbsent)
	}
	dir := filepath.Join(c.dir, "containerd")
	socket, config := filepath.Join(dir, "containerd.sock"), filepath.Join(dir, "config.toml")
	networks := filepath.Join(dir, "cni")
	if err := os.MkdirAll(networks, 0o711); err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
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
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, c.registry+"/"+pauseImage, networks)
	network := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "ctd0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.95.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
]}`, filepath.Join(dir, "leases"))
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(filepath.Join(networks, "10-pods.conflist"), []byte(network), 0o644)); err != nil {
		return "", fmt.Errorf("configuring containerd: %w", err)
	}
	log, err := os.Create(filepath.Join(c.dir, "containerd.log"))
	if err != nil {
		return "", fmt.Errorf("starting containerd: %w", err)
	}
	defer log.Close()
	c.process = exec.CommandContext(context.WithoutCancel(ctx), "containerd", "--config", config)
	c.process.Stdout, c.process.Stderr = log, log
	if err := c.process.Start(); err != nil {
		return "", fmt.Errorf("starting containerd: %w", err)
	}
	c.ended = make(chan error, 1)
	go func() { c.ended <- c.process.Wait() }()
	return socket, c.await(ctx, socket)
}

func (c *containerd) await(ctx context.Context, socket string) error {
	for range 500 {
		conn, err := net.Dial("unix", socket)
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

func (c *containerd) pid() int { return c.process.Process.Pid }

func (c *containerd) stop(ctx context.Context) error {
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
	return harness.RemoveTree(filepath.Join(c.dir, "containerd"))
}
