package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// errAbsent is what setUp wraps when an engine is not on this machine.
var errAbsent = errors.New("not installed")

// trial is one thing to measure: `run --rm … true` with a runtime and a network.
type trial struct {
	Runtime string `json:"runtime"`
	Network string `json:"network"` // none, host, bridge or bridge+port
}

// engine is one that can run a container. command returns nil where a trial
// means nothing to it.
type engine interface {
	name() string
	setUp(ctx context.Context, l *lab) error
	command(ctx context.Context, t trial) *exec.Cmd
	tearDown(ctx context.Context) error
}

// networkFlags are the flags that podman and davit share.
func networkFlags(network, port string) []string {
	if network == "bridge+port" {
		return []string{"-p", "127.0.0.1:" + port + ":80"}
	}
	if network == "bridge" {
		return nil
	}
	return []string{"--network", network}
}

// davitEngine is davit on roots of its own.
type davitEngine struct {
	davit harness.Davit
	image string
}

func (e *davitEngine) name() string { return "davit" }

func (e *davitEngine) setUp(ctx context.Context, l *lab) error {
	e.image = l.registry.Ref("busybox:latest")
	return succeed(e.davit.Command(ctx, "pull", "-q", e.image))
}

func (e *davitEngine) command(ctx context.Context, t trial) *exec.Cmd {
	args := []string{"run", "--rm", "--runtime", t.Runtime}
	args = append(args, networkFlags(t.Network, "18977")...)
	return e.davit.Command(ctx, append(args, e.image, "true")...)
}

func (e *davitEngine) tearDown(ctx context.Context) error {
	return succeed(e.davit.Command(ctx, "rm", "-f", "-a", "-t", "0"))
}

// podman is Debian's, on roots of its own, with the cgroup manager and event
// backend that need no systemd.
type podman struct {
	dir, image string
}

func (e *podman) name() string { return "podman" }

func (e *podman) setUp(ctx context.Context, l *lab) error {
	if _, err := exec.LookPath("podman"); err != nil {
		return fmt.Errorf("%w (make bench-deps installs it)", errAbsent)
	}
	if err := os.Mkdir(e.dir, 0o711); err != nil {
		return fmt.Errorf("making podman's folder: %w", err)
	}
	e.image = l.registry.Ref("busybox:latest")
	policy := filepath.Join(e.dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		return fmt.Errorf("writing podman's policy: %w", err)
	}
	conf, err := containersConf()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(e.dir, "containers.conf"), []byte(conf), 0o644); err != nil {
		return fmt.Errorf("writing podman's configuration: %w", err)
	}
	return succeed(e.podman(ctx, "pull", "-q", "--tls-verify=false", "--signature-policy", policy, e.image))
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

func (e *podman) podman(ctx context.Context, args ...string) *exec.Cmd {
	global := []string{
		"--root", filepath.Join(e.dir, "root"), "--runroot", filepath.Join(e.dir, "run"), "--tmpdir", filepath.Join(e.dir, "tmp"),
		"--cgroup-manager", "cgroupfs", "--events-backend", "file",
		"--network-config-dir", filepath.Join(e.dir, "networks"),
	}
	cmd := exec.CommandContext(ctx, "podman", append(global, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+e.dir, "CONTAINERS_CONF="+filepath.Join(e.dir, "containers.conf"))
	return cmd
}

func (e *podman) command(ctx context.Context, t trial) *exec.Cmd {
	args := append([]string{"--runtime", t.Runtime, "run", "--rm", "--pull=never"}, networkFlags(t.Network, "18978")...)
	return e.podman(ctx, append(args, e.image, "true")...)
}

func (e *podman) tearDown(ctx context.Context) error {
	return succeed(e.podman(ctx, "system", "reset", "--force"))
}

// rawRuntime is the OCI runtime alone, on a bundle made once: the floor of what
// any engine can reach with it. It makes no networks: with a bridge it is not
// measured.
type rawRuntime struct {
	dir string
	n   int
}

func (e *rawRuntime) name() string { return "runtime alone" }

func (e *rawRuntime) setUp(ctx context.Context, _ *lab) error {
	for _, network := range []string{"none", "host"} {
		bundle := filepath.Join(e.dir, network)
		bin := filepath.Join(bundle, "rootfs", "bin")
		for _, d := range []string{bin, filepath.Join(bundle, "rootfs", "proc"), filepath.Join(bundle, "rootfs", "dev"), filepath.Join(bundle, "rootfs", "sys")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("making a root filesystem: %w", err)
			}
		}
		if err := succeed(exec.CommandContext(ctx, "cp", "/bin/busybox", filepath.Join(bin, "true"))); err != nil {
			return err
		}
		if err := writeSpec(ctx, bundle, network == "host"); err != nil {
			return err
		}
	}
	return nil
}

// writeSpec takes what `runc spec` proposes and makes it run true without a
// terminal. It has no seccomp filter: an engine's own spec costs more.
func writeSpec(ctx context.Context, bundle string, hostNetwork bool) error {
	cmd := exec.CommandContext(ctx, "runc", "spec")
	cmd.Dir = bundle
	if err := succeed(cmd); err != nil {
		return err
	}
	path := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading runc's spec: %w", err)
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("reading runc's spec: %w", err)
	}
	process, _ := spec["process"].(map[string]any)
	linux, _ := spec["linux"].(map[string]any)
	if process == nil || linux == nil {
		return errors.New("reading runc's spec: it has no process")
	}
	process["terminal"], process["args"] = false, []string{"true"}
	delete(process, "rlimits")
	if hostNetwork {
		var kept []any
		namespaces, _ := linux["namespaces"].([]any)
		for _, ns := range namespaces {
			if m, ok := ns.(map[string]any); !ok || m["type"] != "network" {
				kept = append(kept, ns)
			}
		}
		linux["namespaces"] = kept
	}
	if data, err = json.Marshal(spec); err != nil {
		return fmt.Errorf("writing a spec: %w", err)
	}
	return os.WriteFile(path, data, 0o644)
}

func (e *rawRuntime) command(ctx context.Context, t trial) *exec.Cmd {
	if strings.HasPrefix(t.Network, "bridge") {
		return nil
	}
	e.n++
	return exec.CommandContext(ctx, t.Runtime, "run", "--bundle", filepath.Join(e.dir, t.Network), fmt.Sprintf("davit-bench-%d-%d", os.Getpid(), e.n))
}

func (e *rawRuntime) tearDown(context.Context) error { return nil }

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
