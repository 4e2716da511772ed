package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/cmd/davit-bench/cri"
	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
	"github.com/davit-containers/davit/commands/harness"
)

// davitName is what subjects of davit are called.
const davitName = "davit"

// engine is one that is spoken to in podman's words.
type engine interface {
	name() string
	// setUp sets it up in a folder that is not there yet. What wraps
	// cri.ErrAbsent says that it is not installed.
	setUp(ctx context.Context, dir string, l *lab) error
	// cli is a command, with an OCI runtime unless that is "".
	cli(ctx context.Context, runtime string, args ...string) *exec.Cmd
	// port is one of the host's that is its own to publish.
	port() string
	tearDown(ctx context.Context) error
}

// subjects are all engines with all runtimes, each doing what sample makes of it.
func (l *lab) subjects(sample func(e engine, runtime string) func(context.Context) ([]float64, error)) []rounds.Subject {
	var out []rounds.Subject
	for _, r := range l.runtimes {
		for _, e := range l.engines {
			out = append(out, rounds.Subject{Name: e.name() + ", " + r, Runtime: r, Sample: sample(e, r)})
		}
	}
	return out
}

// commands is the sample of one command, which succeeds.
func command(make func(context.Context) *exec.Cmd) func(context.Context) ([]float64, error) {
	return rounds.Timed(func(ctx context.Context) error { return succeed(make(ctx)) })
}

// davitEngine is davit on roots of its own.
type davitEngine struct {
	bin   string
	davit harness.Davit
}

var _ engine = (*davitEngine)(nil)

func (e *davitEngine) name() string { return davitName }

func (e *davitEngine) setUp(_ context.Context, dir string, l *lab) error {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return fmt.Errorf("making davit's folder: %w", err)
	}
	roots, err := harness.NewRootsWithRun(dir, cri.RunFolder(dir))
	if err != nil {
		return err
	}
	e.davit = harness.Davit{Bin: e.bin, Roots: roots}
	return roots.TrustRegistry(l.registry.Addr)
}

func (e *davitEngine) cli(ctx context.Context, runtime string, args ...string) *exec.Cmd {
	if runtime != "" {
		args = append([]string{"--runtime", runtime}, args...)
	}
	return e.davit.Command(ctx, args...)
}

// runtimeExec has the OCI runtime itself run a command in a container of davit's.
func (e *davitEngine) runtimeExec(ctx context.Context, runtime, name string, args ...string) (func(context.Context) *exec.Cmd, error) {
	r, err := harness.Capture(e.cli(ctx, "", "inspect", "--format", "{{.ID}}", name))
	if err != nil || r.Code != 0 {
		return nil, fmt.Errorf("inspecting container %q: exit code %d, %v", name, r.Code, err)
	}
	args = append([]string{"--root", filepath.Join(e.davit.Roots.RunRoot, "runtimes", runtime), "exec", r.Line()}, args...)
	return func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, runtime, args...) }, nil
}

func (e *davitEngine) port() string { return "18977" }

func (e *davitEngine) tearDown(ctx context.Context) error {
	return errors.Join(succeed(e.cli(ctx, "", "rm", "-f", "-a", "-t", "0")), e.davit.Roots.RemoveNetwork(ctx), e.davit.Roots.Remove())
}

// podman is Debian's, on roots of its own, with the cgroup manager and event
// backend that need no systemd.
type podman struct{ dir string }

var _ engine = (*podman)(nil)

func (e *podman) name() string { return "podman" }

func (e *podman) setUp(_ context.Context, dir string, l *lab) error {
	if _, err := exec.LookPath("podman"); err != nil {
		return fmt.Errorf("%w (make bench-deps installs it)", cri.ErrAbsent)
	}
	e.dir = dir
	if err := os.Mkdir(dir, 0o711); err != nil {
		return fmt.Errorf("making podman's folder: %w", err)
	}
	conf, err := containersConf()
	if err != nil {
		return err
	}
	registries := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", l.registry.Addr)
	policy := `{"default":[{"type":"insecureAcceptAnything"}]}`
	home := filepath.Join(dir, ".config", "containers")
	if err := os.MkdirAll(home, 0o711); err != nil {
		return fmt.Errorf("making podman's folder: %w", err)
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "containers.conf"): conf,
		filepath.Join(dir, "registries.conf"): registries,
		filepath.Join(home, "policy.json"):    policy,
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("configuring podman: %w", err)
		}
	}
	return nil
}

// containersConf keeps podman from raising limits above the hard ones, which it
// may not where CAP_SYS_RESOURCE is missing; its own nproc it lowers to pid_max.
func containersConf() (string, error) {
	var limits []string
	for _, l := range []struct {
		name string
		what int
		most uint64
	}{{"nofile", unix.RLIMIT_NOFILE, 1 << 20}, {"nproc", unix.RLIMIT_NPROC, 4096}} {
		var r unix.Rlimit
		if err := unix.Getrlimit(l.what, &r); err != nil {
			return "", fmt.Errorf("reading limit %s: %w", l.name, err)
		}
		limits = append(limits, fmt.Sprintf("%q", fmt.Sprintf("%s=%d:%d", l.name, min(r.Max, l.most), min(r.Max, l.most))))
	}
	return "[containers]\ndefault_ulimits = [" + strings.Join(limits, ", ") + "]\n", nil
}

func (e *podman) cli(ctx context.Context, runtime string, args ...string) *exec.Cmd {
	global := []string{
		"--root", filepath.Join(e.dir, "root"), "--runroot", filepath.Join(cri.RunFolder(e.dir), "run"), "--tmpdir", filepath.Join(cri.RunFolder(e.dir), "tmp"),
		"--cgroup-manager", "cgroupfs", "--events-backend", "file",
		"--network-config-dir", filepath.Join(e.dir, "networks"),
	}
	if runtime != "" {
		global = append(global, "--runtime", runtime)
	}
	cmd := exec.CommandContext(ctx, "podman", append(global, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+e.dir, "CONTAINERS_CONF="+filepath.Join(e.dir, "containers.conf"),
		"CONTAINERS_REGISTRIES_CONF="+filepath.Join(e.dir, "registries.conf"))
	return cmd
}

func (e *podman) port() string { return "18978" }

func (e *podman) tearDown(ctx context.Context) error {
	return succeed(e.cli(ctx, "", "system", "reset", "--force"))
}

// ctrClient is containerd's own client, with no network but the host's or none.
type ctrClient struct {
	server cri.Containerd
	image  string
	n      int
}

func (c *ctrClient) name() string { return "ctr, runc" }

func (c *ctrClient) setUp(ctx context.Context, image string) error {
	c.image = image
	if err := c.server.Start(ctx); err != nil {
		return err
	}
	return succeed(c.cli(ctx, "images", "pull", "--plain-http", image))
}

func (c *ctrClient) cli(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ctr", append([]string{"--address", c.server.Socket()}, args...)...)
}

// run is `ctr run --rm`; it is for several goroutines if they number themselves.
func (c *ctrClient) run(ctx context.Context, network string, args ...string) *exec.Cmd {
	c.n++
	flags := []string{"run", "--rm"}
	if network == "host" {
		flags = append(flags, "--net-host")
	}
	return c.cli(ctx, append(append(flags, c.image, fmt.Sprintf("bench-%d", c.n)), args...)...)
}

// succeed runs a command and makes an error of everything but exit code 0.
func succeed(cmd *exec.Cmd) error {
	r, err := harness.Capture(cmd)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", r.Code, strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("running %s: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}
