package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
)

// rawRuntime is the OCI runtime alone, on bundles made once: the floor of what
// any engine can reach with it. Its spec has no seccomp filter, it mounts no
// layers and makes no networks.
type rawRuntime struct {
	dir string
	n   atomic.Int64
}

func (e *rawRuntime) name() string { return "runtime alone" }

// bundles are those that setUp makes: what the process is, by name.
func bundles() map[string][]string {
	return map[string][]string{"none": {"true"}, "host": {"true"}, "sleep": {"sleep", "1000"}}
}

func (e *rawRuntime) setUp(ctx context.Context) error {
	for name, args := range bundles() {
		bundle := filepath.Join(e.dir, name)
		bin := filepath.Join(bundle, "rootfs", "bin")
		for _, d := range []string{bin, filepath.Join(bundle, "rootfs", "proc"), filepath.Join(bundle, "rootfs", "dev"), filepath.Join(bundle, "rootfs", "sys")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("making a root filesystem: %w", err)
			}
		}
		for _, applet := range []string{"true", "sleep"} {
			if err := succeed(exec.CommandContext(ctx, "cp", "/bin/busybox", filepath.Join(bin, applet))); err != nil {
				return err
			}
		}
		if err := writeSpec(ctx, bundle, args, name == "host"); err != nil {
			return err
		}
	}
	return nil
}

// writeSpec takes what `runc spec` proposes and makes it run a program without a
// terminal.
func writeSpec(ctx context.Context, bundle string, args []string, hostNetwork bool) error {
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
	process["terminal"], process["args"] = false, args
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

// id is a new container's.
func (e *rawRuntime) id() string { return fmt.Sprintf("davit-bench-%d-%d", os.Getpid(), e.n.Add(1)) }

// run runs a bundle in the foreground.
func (e *rawRuntime) run(ctx context.Context, runtime, bundle string) *exec.Cmd {
	return exec.CommandContext(ctx, runtime, "run", "--bundle", filepath.Join(e.dir, bundle), e.id())
}

// sleep starts a container that sleeps; remove ends it.
func (e *rawRuntime) sleep(ctx context.Context, runtime string) (id string, remove func() error, err error) {
	id = e.id()
	cmd := exec.CommandContext(ctx, runtime, "run", "--detach", "--bundle", filepath.Join(e.dir, "sleep"), id)
	if err := cmd.Run(); err != nil { // its streams are the container's: they are not waited for
		return "", nil, fmt.Errorf("starting a container of %s: %w", runtime, err)
	}
	return id, func() error {
		return succeed(exec.CommandContext(context.WithoutCancel(ctx), runtime, "delete", "--force", id))
	}, nil
}
