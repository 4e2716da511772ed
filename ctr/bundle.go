package ctr

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/davit-containers/davit/ctr/cdi"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/confine"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/rootfs"
	"github.com/davit-containers/davit/ctr/spec"
)

// cgroupOf is the container's cgroup, as the runtime is told of it and as it is
// then; both empty when it has none of its own.
func cgroupOf(d cgroup.Driver, ctr Container, sb Sandbox) (cgroupsPath, path string, err error) {
	if ctr.Config.CgroupsOff || sb.CgroupParent == "" {
		return "", "", nil
	}
	return d.Container(sb.CgroupParent, ctr.ID)
}

// bundled is what else there is to know of a bundle.
type bundled struct {
	user spec.User // that the process runs as
	// filter is what the seccomp filter that the runtime compiles is to be kept under;
	// empty when it is kept already, or cannot be had.
	filter string
}

// writeBundle writes the runtime spec of a container into its bundle.
func (c *bundler) writeBundle(ctx context.Context, ctr Container, sb Sandbox, root string) (bundled, error) {
	defer record.Span(ctx, "spec write", ctr.ID)()
	built, err := c.specConfig(ctx, ctr, sb, root)
	if err != nil {
		return bundled{}, err
	}
	s, err := spec.Build(built)
	if err != nil {
		return bundled{}, fmt.Errorf("building spec of container %q: %w", ctr.Config.Name, err)
	}
	if len(ctr.Config.CDIDevices) > 0 {
		if err := cdi.Inject(s, c.o.Host.CDIDirs, ctr.Config.CDIDevices); err != nil {
			return bundled{}, fmt.Errorf("devices of container %q: %w", ctr.Config.Name, err)
		}
	}
	filter, err := c.readyFilter(ctr, s)
	if err != nil {
		return bundled{}, err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return bundled{}, fmt.Errorf("encoding spec of container %q: %w", ctr.Config.Name, err)
	}
	if err := failpoint.Reach(ctx, failpoint.ContainerBundle); err != nil {
		return bundled{}, err
	}
	path := filepath.Join(c.bundle(ctr.ID), "config.json")
	if err := record.WriteAtomic(path, data, record.WriteOptions{Mode: 0o600}); err != nil {
		return bundled{}, fmt.Errorf("writing bundle of container %q: %w", ctr.Config.Name, err)
	}
	u := s.Process.User
	return bundled{spec.User{UID: u.UID, GID: u.GID, AdditionalGIDs: u.AdditionalGids}, filter}, nil
}

// readyFilter gives the runtime the seccomp filter as it has compiled it before, or
// returns what that is to be kept under by keepFilter, once it has. A container whose
// own annotations say something of its filter has that alone.
func (c *bundler) readyFilter(ctr Container, s *specs.Spec) (string, error) {
	rt, err := c.runtime(ctr.Config)
	if err != nil {
		return "", err
	}
	filter := s.Linux.Seccomp
	if filter == nil || filter.ListenerPath != "" || oci.FilterOf(rt, ctr.ID) == "" {
		return "", nil
	}
	for name := range s.Annotations {
		if strings.HasPrefix(name, "run.oci.seccomp") {
			return "", nil
		}
	}
	binary, err := rt.Binary()
	if err != nil {
		return "", err
	}
	key, err := c.filters().Key(filter, binary)
	if err != nil {
		return "", fmt.Errorf("seccomp filter of container %q: %w", ctr.Config.Name, err)
	}
	program := c.filters().Get(key)
	if program == nil {
		return key, nil
	}
	annotations := map[string]string{oci.FilterAnnotation: base64.StdEncoding.EncodeToString(program)}
	maps.Copy(annotations, s.Annotations)
	s.Annotations = annotations
	return "", nil
}

// keepFilter keeps what the runtime has made of a new container's seccomp filter. It
// is no matter if that cannot be done.
func (c *bundler) keepFilter(ctx context.Context, ctr Container, key string) {
	rt, err := c.runtime(ctr.Config)
	if err == nil {
		err = c.filters().Keep(key, oci.FilterOf(rt, ctr.ID))
	}
	if err != nil {
		c.o.Log.DebugContext(ctx, "a seccomp filter is not kept", "container", ctr.ID, "error", err)
	}
}

func (c *bundler) filters() confine.Filters {
	return confine.Filters{Dir: filepath.Join(c.o.Paths.RunRoot, "filters")}
}

// specConfig gathers what a spec is built from: what was asked for, what the
// sandbox gives, and what only the host and the image's files tell.
func (c *bundler) specConfig(ctx context.Context, ctr Container, sb Sandbox, root string) (spec.Config, error) {
	cfg, limits := ctr.Config, ctr.Limits()
	cfg.Process.OOMScoreAdj = limits.OOMScoreAdj
	out := spec.Config{
		Rootfs: root, Security: cfg.Security, Sysctls: cfg.Sysctls,
		Annotations: c.specAnnotations(cfg), Namespaces: joinNamespaces(sb.Namespaces, cfg.Namespaces),
	}
	var err error
	if out.CgroupsPath, _, err = cgroupOf(c.o.CgroupDriver, ctr, sb); err != nil {
		return out, err
	}
	if out.Namespaces.UTS.Mode == spec.ModePrivate || out.Namespaces.UTS.Mode == "" {
		out.Hostname = sb.Hostname
	}
	if err := c.checkMounts(ctx, cfg); err != nil {
		return out, err
	}
	if err = c.joinTarget(ctx, ctr, &out.Namespaces); err != nil {
		return out, err
	}
	if m := cfg.Namespaces; len(m.UIDMappings) > 0 {
		uid, gid := int(m.UIDMappings[0].HostID), int(m.GIDMappings[0].HostID)
		if out.Rootfs, err = rootfs.Expose(root, exposed(c.o.Paths, ctr.ID), uid, gid); err != nil {
			return out, fmt.Errorf("container %q: %w", cfg.Name, err)
		}
	}
	if out.Resources, err = c.enforceable(limits.Resources); err != nil {
		return out, err
	}
	if out.Security, err = c.confinement(cfg.Security); err != nil {
		return out, err
	}
	if out.Process, err = c.specProcess(cfg, sb, root); err != nil {
		return out, err
	}
	if out.Mounts, err = c.mountSources(ctx, ctr, root); err != nil {
		return out, err
	}
	if out.Devices, err = hostDevices(cfg); err != nil {
		return out, err
	}
	out.Host, err = c.specHost(cfg, sb)
	return out, err
}

// specAnnotations are those that the runtime sees: all that a person gave on the
// command line; of the kubelet's those that the configuration allows.
func (c *bundler) specAnnotations(cfg Config) map[string]string {
	if cfg.Owner != record.OwnerCRI {
		return cfg.Annotations
	}
	if c.o.Runtimes.Annotations == nil {
		return nil
	}
	out := map[string]string{}
	for _, name := range c.o.Runtimes.Annotations(cfg.Runtime) {
		if v, ok := cfg.Annotations[name]; ok {
			out[name] = v
		}
	}
	return out
}

// specProcess resolves the user inside the image and clamps what the caller may
// not raise.
func (c *bundler) specProcess(cfg Config, sb Sandbox, root string) (spec.Process, error) {
	user, err := rootfs.ResolveUser(root, cfg.Process.User, cfg.Process.Groups, cfg.Process.GroupPolicy)
	if err != nil {
		return spec.Process{}, fmt.Errorf("user of container %q: %w", cfg.Name, err)
	}
	p := spec.Process{
		Args: cfg.Process.Args, Env: cfg.Process.Env, Cwd: cfg.Process.WorkingDir,
		User:     spec.User{UID: user.UID, GID: user.GID, AdditionalGIDs: user.AdditionalGIDs},
		Terminal: cfg.Process.Terminal, Init: cfg.Init,
		ConsoleSize: spec.Size{Width: uint(cfg.ConsoleSize.Width), Height: uint(cfg.ConsoleSize.Height)},
	}
	if cfg.Process.Umask != "" {
		umask, err := strconv.ParseUint(cfg.Process.Umask, 8, 12)
		if err != nil {
			return p, fmt.Errorf("umask %q is not octal: %w", cfg.Process.Umask, errdefs.ErrInvalidArgument)
		}
		u := uint32(umask)
		p.User.Umask = &u
	}
	p = p.WithHome(user.Home)
	if sb.Hostname != "" {
		p.Env = withDefault(p.Env, "HOSTNAME", sb.Hostname)
	}
	return c.clamp(p, cfg.Process)
}

// joinNamespaces lets a container's own choice win over its sandbox's, by kind.
func joinNamespaces(sb, own spec.Namespaces) spec.Namespaces {
	pick := func(own, sb spec.Namespace) spec.Namespace {
		if own.Mode != "" {
			return own
		}
		return sb
	}
	own.PID = pick(own.PID, sb.PID)
	own.Network = pick(own.Network, sb.Network)
	own.IPC = pick(own.IPC, sb.IPC)
	own.UTS = pick(own.UTS, sb.UTS)
	own.User = pick(own.User, sb.User)
	own.Cgroup = pick(own.Cgroup, sb.Cgroup)
	if own.UIDMappings == nil {
		own.UIDMappings, own.GIDMappings = sb.UIDMappings, sb.GIDMappings
	}
	return own
}

// mountSources replaces volumes by their folders, filling new ones from the
// image, and checks that what is bound exists.
func (c *bundler) mountSources(ctx context.Context, ctr Container, root string) ([]spec.Mount, error) {
	cfg := ctr.Config
	label := relabelling(cfg)
	out := make([]spec.Mount, 0, len(cfg.Mounts))
	for i, m := range cfg.Mounts {
		switch m.Type {
		case spec.MountVolume:
			path, err := c.mountVolume(ctx, ctr, i, root)
			if err != nil {
				return nil, err
			}
			m.Type, m.Source = spec.MountBind, path
		case spec.MountImage:
			path, err := c.mountImage(ctx, ctr, i)
			if err != nil {
				return nil, err
			}
			m.Source = path
		case spec.MountBind:
			if _, err := os.Stat(m.Source); errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("source %q of the mount at %q does not exist: %w", m.Source, m.Destination, errdefs.ErrInvalidArgument)
			} else if err != nil {
				return nil, fmt.Errorf("source of the mount at %q: %w", m.Destination, err)
			}
			if m.Relabel != "" {
				if err := c.o.Host.SELinux.Relabel(m.Source, label, m.Relabel == "z", cfg.Owner == record.OwnerCRI); err != nil {
					return nil, fmt.Errorf("source of the mount at %q: %w", m.Destination, err)
				}
			}
			if cfg.Owner == record.OwnerCRI {
				if err := propagates(m); err != nil {
					return nil, err
				}
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// specHost is what the spec takes from this host and from the sandbox, whose files
// are read-only where the root filesystem is.
func (c *bundler) specHost(cfg Config, sb Sandbox) (spec.Host, error) {
	host := spec.Host{Init: c.o.Host.InitPath, Capabilities: boundingSet(), NoX32: confine.NoX32()}
	if cg, err := c.o.Cgroups(); err == nil {
		host.CgroupVersion = cg.Version
	}
	thermal, err := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	if err != nil {
		return host, err
	}
	host.MaskedPaths = thermal
	access := "rw"
	if cfg.Security.ReadOnlyRootfs {
		access = "ro"
	}
	for _, f := range []struct{ source, dest string }{
		{sb.Hosts, "/etc/hosts"}, {sb.ResolvConf, "/etc/resolv.conf"}, {sb.HostnameFile, "/etc/hostname"},
	} {
		if f.source != "" {
			host.Mounts = append(host.Mounts, spec.Mount{
				Type: spec.MountBind, Source: f.source, Destination: f.dest,
				Options: []string{"bind", access, "rprivate", "nosuid", "nodev", "noexec"},
			})
		}
	}
	if sb.Shm != "" {
		host.Mounts = append(host.Mounts, spec.Mount{
			Type: spec.MountBind, Source: sb.Shm, Destination: "/dev/shm",
			Options: []string{"bind", "rprivate", "nosuid", "nodev", "noexec"},
		})
	}
	return host, nil
}

// withDefault sets a variable unless the environment has it.
func withDefault(env []string, key, value string) []string {
	for _, kv := range env {
		if len(kv) > len(key) && kv[:len(key)] == key && kv[len(key)] == '=' {
			return env
		}
	}
	return append(env, key+"="+value)
}
